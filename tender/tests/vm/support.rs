//! Where programs are and how they are run.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The directory of programs that tests start.
fn directory() -> PathBuf {
    let Some(directory) = std::env::var_os("CORACLE_TEST_DIR") else {
        panic!("CORACLE_TEST_DIR is not set: these tests are run by `cargo xtask test`");
    };
    directory.into()
}

/// Says loudly that a test runs nothing on a machine without KVM, and answers whether it does.
/// The summary of `cargo xtask test` repeats it.
pub(crate) fn no_kvm() -> bool {
    let missing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err();
    if missing {
        eprintln!("NOT RUN: this machine has no usable /dev/kvm");
    }
    missing
}

/// The `coracle` command.
pub(crate) fn coracle() -> PathBuf {
    directory().join("coracle")
}

/// An example, by profile (`debug`, `release`, `stripped`) and name.
pub(crate) fn example(profile: &str, name: &str) -> PathBuf {
    directory().join("examples").join(profile).join(name)
}

/// An example that was built in another way.
pub(crate) fn variant(name: &str) -> PathBuf {
    directory().join("variants").join(name)
}

/// A test guest by name, built for release.
pub(crate) fn guest(name: &str) -> PathBuf {
    directory().join("guests/release").join(name)
}

/// `coracle run` with options before the image. It does not ignore signals, though tests that a shell
/// runs in the background do.
pub(crate) fn run<S: AsRef<OsStr>>(options: &[&str], image: PathBuf, arguments: &[S]) -> Command {
    let mut command = Command::new(coracle());
    command.arg("run").args(options).arg(image).arg("--").args(arguments);
    // SAFETY: between fork and exec this only changes what signals do.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            Ok(())
        });
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end and keeps what it writes.
pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("coracle starts")
}

/// What a program wrote to its standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a program wrote to its standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
