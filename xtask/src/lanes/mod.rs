//! `cargo xtask test --on LANE`: the tests that boot VMs, under another KVM than this machine's.
//!
//! A lane is a machine that is emulated, instruction by instruction, with a CPU that has the
//! virtualisation of AMD or Intel. Debian's kernel and its real KVM run on it, and on that our tests.
//!
//! | file | what it does |
//! |---|---|
//! | `debian` | gets the kernel |
//! | `modules` | the kernel's modules that make up KVM, in the order in which they load |
//! | `programs` | what of this machine a lane needs, and the package that has it |
//! | `initramfs` | the file system that the machine boots with |
//! | `qemu`, `bochs` | start a machine |
//! | `watch` | follows what the machine tells, and ends it when it tells nothing any more |
//! | `progress` | shows that |
//!
//! All that a lane makes lies in `target/lanes`: the kernel stays there, and of the last run the
//! kernel's console and all events.

mod bochs;
mod debian;
mod initramfs;
mod modules;
mod programs;
mod progress;
mod qemu;
mod watch;

use crate::results::Results;
use crate::shell::{Context, Failure, Result, line};
use crate::{paths, stage};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Once;
use std::time::Duration;

/// A kind of KVM that an emulated machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lane {
    /// AMD-V with nested paging
    AmdV,
    /// AMD-V without: KVM shadows page tables
    AmdVShadow,
    /// VT-x with EPT
    VtX,
    /// VT-x without: KVM shadows page tables
    VtXShadow,
}

/// All of them.
pub(crate) const ALL: [Lane; 4] = [Lane::AmdV, Lane::AmdVShadow, Lane::VtX, Lane::VtXShadow];

/// How often and how long tests try, where other machines try more: an emulated one takes a hundred
/// times as long.
const COUNTS: [(&str, &str); 5] = [
    ("CORACLE_FUZZ_CALLS", "500"),
    ("CORACLE_SYSTEM_CALLS", "16"),
    ("CORACLE_PORTS", "8"),
    ("CORACLE_SOAK_SECONDS", "1"),
    ("CORACLE_POOL_CALLS", "200"),
];

/// Options of every lane's kernel: the clock is what it says it is; trouble ends the machine. Messages go to the
/// second port, which each emulator's own options say.
const KERNEL: &str =
    "loglevel=4 panic=-1 oops=panic mitigations=off nokaslr tsc=reliable random.trust_cpu=on audit=0";

/// A program that emulates machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emulator {
    Qemu,
    Bochs,
}

/// What a machine is started with.
struct Boot<'a> {
    /// Where its files lie and it leaves its own: `initrd`, `events`, `console`.
    directory: &'a Path,
    /// The kernel's image.
    kernel: &'a Path,
    /// MiB.
    memory: u64,
}

impl Lane {
    /// Its name on the command line, and in `CORACLE_TEST_LANE`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::AmdV => "amd-v",
            Lane::AmdVShadow => "amd-v-shadow",
            Lane::VtX => "vt-x",
            Lane::VtXShadow => "vt-x-shadow",
        }
    }

    fn emulator(self) -> Emulator {
        match self {
            Lane::AmdV | Lane::AmdVShadow => Emulator::Qemu,
            Lane::VtX | Lane::VtXShadow => Emulator::Bochs,
        }
    }

    /// KVM's module for this CPU and its parameters.
    fn module(self) -> (&'static str, &'static str) {
        match self {
            Lane::AmdV => ("kvm_amd", "npt=1"),
            Lane::AmdVShadow => ("kvm_amd", "npt=0"),
            Lane::VtX => ("kvm_intel", "ept=1"),
            Lane::VtXShadow => ("kvm_intel", "ept=0"),
        }
    }

    /// Why it cannot run here, or nothing when what it needs is installed.
    pub(crate) fn missing(self) -> Option<String> {
        match self.emulator() {
            Emulator::Qemu => programs::missing(qemu::NEEDS),
            Emulator::Bochs => programs::missing(bochs::NEEDS),
        }
    }

    /// Runs those tests that the arguments, as a test program takes them, choose.
    pub(crate) fn run(self, arguments: &[OsString]) -> Result<Results> {
        if let Some(missing) = self.missing() {
            return Err(Failure::new(missing));
        }
        let directory = paths::target().join("lanes");
        paths::make(&directory)?;
        let lock = lock(&directory.join("lock"))?;
        let kernel = debian::kernel(&directory.join("kernel"))?;
        let stage = staged(&directory)?;
        let tests = chosen(&stage, arguments)?;
        if tests.is_empty() {
            return Err(Failure::new("no test has such a name"));
        }
        let (module, parameters) = self.module();
        let with_parameters = |found: modules::Module| {
            let parameters = if found.name == module { parameters } else { "" };
            (found, parameters)
        };
        let modules = modules::load_order(&kernel, &["kvm", module])?;
        let modules: Vec<_> = modules.into_iter().map(with_parameters).collect();
        let run = watch::Run::prepare(self, &kernel, &modules, &stage, directory.join(self.name()))?;
        // Machines of several lanes may run at once.
        drop(lock);
        let counts: Vec<String> = COUNTS.iter().map(|(name, count)| format!("{name}={count}")).collect();
        eprintln!("{}: scaled down: {}", self.name(), counts.join(" "));
        run.all(tests)
    }
}

impl Emulator {
    /// How long a test may take in the machine, by the machine's clock.
    fn limit(self) -> Duration {
        match self {
            Emulator::Qemu => Duration::from_secs(120),
            Emulator::Bochs => Duration::from_secs(150),
        }
    }

    /// How much time of this machine's CPU the emulator may use before something is heard from a machine that
    /// runs a test or boots. However long that takes: this machine may have others to do.
    fn patience(self) -> Duration {
        self.limit() * 2
    }

    /// A machine's memory in MiB when it boots with a file system of so many bytes.
    fn memory(self, initramfs: u64) -> u64 {
        let files = 3 * (initramfs >> 20);
        match self {
            Emulator::Qemu => 1536 + files,
            // It has no more.
            Emulator::Bochs => (768 + files).min(2048),
        }
    }

    fn start(self, boot: &Boot<'_>) -> Result<Child> {
        match self {
            Emulator::Qemu => qemu::start(boot),
            Emulator::Bochs => bochs::start(boot),
        }
    }
}

/// Keeps others from preparing lanes at the same time, for as long as the answer is open.
fn lock(file: &Path) -> Result<File> {
    let lock = File::create(file).context(|| file.display().to_string())?;
    lock.lock().context(|| format!("locking {}", file.display()))?;
    Ok(lock)
}

/// The directory of all programs that tests need. They are built for the first lane that asks.
fn staged(directory: &Path) -> Result<PathBuf> {
    static STAGED: Once = Once::new();
    let stage = directory.join("stage");
    stage::once(&STAGED, || stage::vm_tests(&stage))?;
    Ok(stage)
}

/// The names of the tests that the arguments choose: the test program itself says which.
fn chosen(stage: &Path, arguments: &[OsString]) -> Result<Vec<String>> {
    let program: PathBuf = stage.join("tests").join(stage::VM);
    let list = line(program).args(arguments).args(["--list", "--format", "terse"]).quiet_output()?;
    let list = String::from_utf8_lossy(&list);
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}
