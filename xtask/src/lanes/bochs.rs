//! Machines of Bochs, which emulates VT-x with everything that belongs to it.

use super::programs::{self, Need};
use super::watch::spawn;
use super::{Boot, KERNEL};
use crate::paths;
use crate::shell::{Context, Failure, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
const VGA: &str = "/usr/share/vgabios/vgabios.bin";
const LOADER: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const LOADER_MODULE: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

pub(super) const NEEDS: &[Need] = &[
    Need { file: "bochs", package: "bochs" },
    // Debian's Bochs needs a display: this one is a terminal, for which a file is good enough.
    Need { file: "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so", package: "bochs-term" },
    Need { file: BIOS, package: "bochsbios" },
    Need { file: VGA, package: "vgabios" },
    Need { file: "genisoimage", package: "genisoimage" },
    Need { file: LOADER, package: "isolinux" },
    Need { file: LOADER_MODULE, package: "syslinux-common" },
];

/// A CPU with AVX2, EPT with its accessed and dirty bits, VPID and the preemption timer.
const CPU: &str = "corei7_haswell_4770";

/// Without self-tests, certificates and probes, which are half of what the kernel does until it has booted; trouble
/// ends it by a triple fault.
const OF_BOCHS: &str = "console=ttyS1,115200 reboot=t cryptomgr.notests \
                        initcall_blacklist=load_system_certificate_list,init_kprobe_trace";

/// Settings, to be completed by the machine's memory. The clock counts instructions.
fn settings(memory: u64) -> String {
    format!(
        "config_interface: textconfig
display_library: term
cpu: model={CPU}, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory}, host={memory}
romimage: file={BIOS}, options=fastboot
vgaromimage: file={VGA}
pci: enabled=1, chipset=i440fx
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=0
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
clock: sync=none, time0=utc
speaker: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
com1: enabled=1, mode=file, dev=events
com2: enabled=1, mode=file, dev=console
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"
    )
}

pub(super) fn start(boot: &Boot<'_>) -> Result<Child> {
    make_disc(boot)?;
    paths::write(&boot.directory.join("settings"), settings(boot.memory))?;
    // Debian's Bochs waits in its debugger until it is told to go on.
    paths::write(&boot.directory.join("go"), "c\n")?;
    let mut bochs = Command::new(programs::path("bochs"));
    bochs
        .args(["-q", "-f", "settings", "-rc", "go"])
        .current_dir(boot.directory)
        .envs([("TERM", "xterm"), ("LINES", "25"), ("COLUMNS", "80")])
        .env_remove("DISPLAY");
    let screen = boot.directory.join("screen");
    let screen = File::create(&screen).context(|| screen.display().to_string())?;
    let (said, output) = io::pipe().context(|| "a pipe for Bochs".to_owned())?;
    let machine = spawn(&mut bochs, output.into())?;
    thread::spawn(move || listen(said, screen));
    Ok(machine)
}

/// Keeps what Bochs says until it ends, and sees to the terminal that it makes for the machine's display: when
/// nobody reads what it draws there, it waits for somebody after 64 KiB.
fn listen(said: PipeReader, mut screen: File) {
    for line in BufReader::new(said).split(b'\n').map_while(io::Result::ok) {
        // A missing line of its messages fails nothing.
        let _ = screen.write_all(&line).and_then(|()| screen.write_all(b"\n"));
        if let Some(terminal) = terminal(&String::from_utf8_lossy(&line)) {
            let opened = File::options().read(true).custom_flags(libc::O_NOCTTY).open(terminal);
            if let Ok(mut opened) = opened {
                thread::spawn(move || io::copy(&mut opened, &mut io::sink()));
            }
        }
    }
}

/// The terminal that a message of Bochs names.
fn terminal(line: &str) -> Option<&str> {
    line.split_once("connected to screen \"")?.1.split_once('"').map(|(terminal, _)| terminal)
}

/// Makes a disc that boots the kernel: Bochs starts nothing by itself.
fn make_disc(boot: &Boot<'_>) -> Result {
    let disc = boot.directory.join("disc");
    paths::make_empty(&disc)?;
    let initrd = boot.directory.join("initrd");
    for (from, name) in [
        (boot.kernel, "vmlinuz"),
        (&initrd, "initrd"),
        (Path::new(LOADER), "isolinux.bin"),
        (Path::new(LOADER_MODULE), "ldlinux.c32"),
    ] {
        paths::copy(from, &disc.join(name))?;
    }
    let options = format!("initrd=initrd {OF_BOCHS} {KERNEL}");
    let choice = format!("DEFAULT lane\nPROMPT 0\nLABEL lane\nKERNEL vmlinuz\nAPPEND {options}\n");
    paths::write(&disc.join("isolinux.cfg"), choice)?;
    let mut command = Command::new(programs::path("genisoimage"));
    command
        .args(["-quiet", "-R", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .args(["-b", "isolinux.bin", "-c", "boot.cat", "-o"])
        .args([&boot.directory.join("boot.iso"), &disc]);
    let output = command.output().context(|| "genisoimage".to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("genisoimage: {}: {}", output.status, said.trim())));
    }
    std::fs::remove_dir_all(&disc).context(|| disc.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::terminal;

    #[test]
    fn bochs_says_which_terminal_its_display_is() {
        assert_eq!(terminal("Bochs connected to screen \"/dev/pts/7\""), Some("/dev/pts/7"));
        assert_eq!(terminal("Bochs is exiting"), None);
    }
}
