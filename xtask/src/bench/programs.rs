//! The programs that are measured, and those that they are measured against.

use crate::guests::{BENCH, EXAMPLES, Profile};
use crate::here::{BACKENDS, Backend};
use crate::paths;
use crate::shell::{Context, Failure, Result, cargo, line};
use crate::tender;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the built programs are.
pub(super) struct Programs {
    /// What runs guests on this machine.
    pub(super) backends: Vec<Backend>,
    coracle: PathBuf,
    /// The folder of another build: its `coracle` and `bench-calls`.
    before: Option<PathBuf>,
    pub(super) hello: PathBuf,
    pub(super) hello_stripped: PathBuf,
    pub(super) cat: PathBuf,
    guest: PathBuf,
    native: PathBuf,
    pub(super) bare_kvm: PathBuf,
    pub(super) bare_trap: PathBuf,
    pub(super) true_static: PathBuf,
    calls: PathBuf,
    pub(super) dirty: PathBuf,
    pub(super) slow_start: PathBuf,
    echo: PathBuf,
    http: PathBuf,
}

/// Builds them all.
pub(super) fn build(before: Option<&Path>) -> Result<Programs> {
    let before = before.map(other_build).transpose()?;
    let coracle = tender::build()?;
    install(&coracle.with_file_name("coracle-serve"))?;
    let coracle = install(&coracle)?;
    let hello_stripped = EXAMPLES.build_one(Profile::Stripped, "hello")?;
    let hello = EXAMPLES.program(Profile::Release, "hello");
    let cat = EXAMPLES.build_one(Profile::Release, "cat")?;
    let guest = BENCH.build_one(Profile::Release, "bench-guest")?;
    cargo("build").args(["--release", "--package", "bench-native"]).run()?;
    let dirty = BENCH.program(Profile::Release, "bench-dirty");
    let slow_start = BENCH.program(Profile::Release, "bench-slow-start");
    cargo("build").args(["--release", "--package", "bench-calls"]).run()?;
    let calls = paths::target().join("release/bench-calls");
    let echo = EXAMPLES.build_one(Profile::Release, "handler-echo")?;
    cargo("build").args(["--release", "--package", "bench-http"]).run()?;
    let http = paths::target().join("release/bench-http");
    let native = paths::target().join("release/bench-native");
    let bare_kvm = compile("bare_kvm")?;
    let bare_trap = compile("bare_trap")?;
    let true_static = compile("true_static")?;
    let backends = BACKENDS.into_iter().filter(|backend| backend.missing().is_none()).collect();
    Ok(Programs {
        backends,
        coracle,
        before,
        hello,
        hello_stripped,
        cat,
        guest,
        native,
        bare_kvm,
        bare_trap,
        true_static,
        calls,
        dirty,
        slow_start,
        echo,
        http,
    })
}

/// The programs of another build that are held against this one's.
const OF_OTHER_BUILD: [&str; 2] = ["coracle", "bench-calls"];

/// The folder of another build, which has to have them.
fn other_build(folder: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder).context(|| "--before".to_owned())?;
    for name in OF_OTHER_BUILD {
        let program = folder.join(name);
        if !program.is_file() {
            let words = "--before takes a folder with another build's coracle and bench-calls, as docs/measuring.md says";
            return Err(Failure::new(format!("{}: there is no such file: {words}", program.display())));
        }
    }
    Ok(folder)
}

fn compile(yardstick: &str) -> Result<PathBuf> {
    let source = paths::root().join("xtask/yardsticks").join(yardstick).with_extension("c");
    let program = paths::target().join("yardsticks").join(yardstick);
    paths::make(&paths::target().join("yardsticks"))?;
    line("cc").args(["-O2", "-static", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source).run()?;
    install(&program)
}

/// Copies a program, as whoever installs it does. What a linker has written lies in smaller pieces in the page
/// cache, and takes more page faults to start.
fn install(program: &Path) -> Result<PathBuf> {
    let copies = paths::target().join("bench");
    paths::make(&copies)?;
    let copy = copies.join(program.file_name().unwrap_or_default());
    // Not over one that runs, or that keeps the pieces it had.
    let _ = std::fs::remove_file(&copy);
    std::fs::copy(program, &copy).context(|| format!("copying {}", program.display()))?;
    Ok(copy)
}

impl Programs {
    /// Boots an image.
    pub(super) fn boot(
        &self,
        backend: Backend,
        options: &[&str],
        image: &Path,
        arguments: &[&str],
    ) -> Command {
        let mut command = super::process::command(&self.coracle, &["run", "--backend", backend.name()]);
        command.args(options).arg(image);
        if !arguments.is_empty() {
            command.arg("--").args(arguments);
        }
        command
    }

    /// Whether there is another build to hold this one against.
    pub(super) fn has_before(&self) -> bool {
        self.before.is_some()
    }

    /// A program of the other build, if there is one.
    fn of_before(&self, own: &Path) -> PathBuf {
        let name = own.file_name().unwrap_or_default();
        self.before.as_deref().map_or_else(|| own.to_owned(), |folder| folder.join(name))
    }

    /// Boots an image in a VM by the other build, which may be older than the choice of a backend.
    pub(super) fn boot_before(&self, image: &Path, arguments: &[&str]) -> Command {
        let mut command = super::process::command(&self.of_before(&self.coracle), &["run"]);
        command.env(Backend::VARIABLE, Backend::Kvm.name()).arg(image);
        if !arguments.is_empty() {
            command.arg("--").args(arguments);
        }
        command
    }

    /// Runs a workload in a guest by the other build.
    pub(super) fn in_guest_before(&self, workload: &str, size: u64) -> Command {
        self.boot_before(&self.guest, &[workload, &size.to_string()])
    }

    /// Runs a workload in a guest.
    pub(super) fn in_guest(&self, backend: Backend, options: &[&str], workload: &str, size: u64) -> Command {
        self.boot(backend, options, &self.guest, &[workload, &size.to_string()])
    }

    /// Measures calls of the guest that dirties pages.
    pub(super) fn call(&self, backend: Backend, what: &str, numbers: &[u64]) -> Command {
        let mut command = super::process::command(&self.calls, &[what]);
        command.env(Backend::VARIABLE, backend.name());
        command.arg(&self.dirty).args(numbers.iter().map(u64::to_string));
        command
    }

    /// The same in VMs by the other build.
    pub(super) fn call_before(&self, what: &str, numbers: &[u64]) -> Command {
        let mut command = super::process::command(&self.of_before(&self.calls), &[what]);
        command.env(Backend::VARIABLE, Backend::Kvm.name());
        command.arg(&self.dirty).args(numbers.iter().map(u64::to_string));
        command
    }

    /// Serves the handler that gives back what it is given.
    pub(super) fn serve(&self, backend: Backend) -> Command {
        let mut command = Command::new(&self.coracle);
        command.args(["serve", "--backend", backend.name(), "--listen", "127.0.0.1:0"]).arg(&self.echo);
        command
    }

    /// A server to hold that against, or the load.
    pub(super) fn http(&self, arguments: &[&str]) -> Command {
        super::process::command(&self.http, arguments)
    }

    /// Takes a snapshot of an image.
    pub(super) fn snapshot(&self, backend: Backend, image: &Path, file: &Path) -> Result {
        line(&self.coracle)
            .args(["snapshot", "--quiet", "--backend", backend.name(), "-o"])
            .arg(file)
            .arg(image)
            .run()
    }

    /// Runs a workload in a process.
    pub(super) fn in_process(&self, workload: &str, size: u64) -> Command {
        super::process::command(&self.native, &[workload, &size.to_string()])
    }
}

#[cfg(test)]
impl Programs {
    /// Programs that are nowhere, for both backends and held against another build: to see which rows there are.
    pub(super) fn none() -> Programs {
        let nowhere = PathBuf::new;
        Programs {
            backends: BACKENDS.to_vec(),
            before: Some(nowhere()),
            coracle: nowhere(),
            hello: nowhere(),
            hello_stripped: nowhere(),
            cat: nowhere(),
            guest: nowhere(),
            native: nowhere(),
            bare_kvm: nowhere(),
            bare_trap: nowhere(),
            true_static: nowhere(),
            calls: nowhere(),
            dirty: nowhere(),
            slow_start: nowhere(),
            echo: nowhere(),
            http: nowhere(),
        }
    }
}
