//! Machines of QEMU, whose own emulation ("TCG") knows AMD-V.

use super::programs::{self, Need};
use super::watch::spawn;
use super::{Boot, KERNEL};
use crate::shell::{Context, Result};
use std::process::{Child, Command};

pub(super) const NEEDS: &[Need] = &[Need { file: "qemu-system-x86_64", package: "qemu-system-x86" }];

/// Without five-level page tables, which this emulation of AMD-V does not nest.
const CPU: &str = "max,la57=off";

pub(super) fn start(boot: &Boot<'_>) -> Result<Child> {
    let file = |name: &str| boot.directory.join(name).display().to_string();
    let mut qemu = Command::new(programs::path("qemu-system-x86_64"));
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "pc"])
        // Several threads of emulation would be faster, if kernels that change their own code did not hang.
        .args(["-accel", "tcg,thread=single", "-cpu", CPU, "-smp", "2"])
        .args(["-m", &boot.memory.to_string()])
        .args(["-serial", &format!("file:{}", file("events")), "-serial"])
        .arg(format!("file:{}", file("console")))
        .arg("-kernel")
        .arg(boot.kernel)
        .args(["-initrd", &file("initrd"), "-append", &format!("console=ttyS1 {KERNEL}")]);
    let log = std::fs::File::create(boot.directory.join("qemu.log")).context(|| file("qemu.log"))?;
    spawn(&mut qemu, log.into())
}
