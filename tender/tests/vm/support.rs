//! Where programs are and how they are run.

use crate::not_run::not_run;
use coracle_tender::machine::{Backend, Host};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The directory of programs that tests start.
pub(crate) fn directory() -> PathBuf {
    let Some(directory) = std::env::var_os("CORACLE_TEST_DIR") else {
        panic!("CORACLE_TEST_DIR is not set: these tests are run by `cargo xtask test`");
    };
    directory.into()
}

/// Whether guests are to be run by KVM and this machine has no usable one; says so loudly then, for the
/// calling test runs nothing.
#[track_caller]
pub(crate) fn no_kvm() -> bool {
    if is_process() {
        return false;
    }
    let usable = is_kvm();
    if let Err(reason) = &usable {
        not_run(format_args!("no usable /dev/kvm: {reason}"));
    }
    usable.is_err()
}

/// The same for a test of what only KVM has, `what`.
#[track_caller]
pub(crate) fn no_kvm_for(what: &str) -> bool {
    if is_process() {
        not_run(format_args!("it is about KVM only: {what}"));
        return true;
    }
    no_kvm()
}

fn is_kvm() -> std::io::Result<()> {
    /// `_IO(KVMIO, 0x00)`, the first thing that one asks a KVM.
    const KVM_GET_API_VERSION: libc::c_ulong = 0xae00;
    let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm")?;
    // SAFETY: the request takes no pointer.
    match unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&device), KVM_GET_API_VERSION, 0) } {
        12 => Ok(()),
        version if version < 0 => Err(std::io::Error::last_os_error()),
        version => Err(std::io::Error::other(format!("its version is {version}"))),
    }
}

/// What runs the guests of tests that use the library: what `CORACLE_BACKEND` names, as for the commands.
pub(crate) fn host() -> Host {
    let named = std::env::var(Backend::VARIABLE).ok();
    let backend = named.map_or(Ok(Backend::Kvm), |name| name.parse());
    Host::open(backend.expect("a backend")).expect("guests can be run")
}

/// What runs guests in processes, whatever else runs those of other tests.
pub(crate) fn process_host() -> Host {
    Host::open(Backend::Process).expect("guests can be run")
}

/// What runs guests in VMs, whatever runs those of other tests; says so where there is no KVM.
#[track_caller]
pub(crate) fn kvm_host() -> Option<Host> {
    if let Err(reason) = is_kvm() {
        not_run(format_args!("no usable /dev/kvm for what it has to do with a VM: {reason}"));
        return None;
    }
    Some(Host::open(Backend::Kvm).expect("guests can be run"))
}

/// Whether the kernel does not tell this user which pages of a process are written (Linux 6.7, and nobody that
/// forbids it); says so.
#[track_caller]
pub(crate) fn no_watching() -> bool {
    /// `UFFDIO_API`; UFFD_USER_MODE_ONLY; protection of files in memory that the kernel lifts by itself.
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const USER_MODE_ONLY: libc::c_int = 1;
    let mut request = [0xaa_u64, 1 << 12 | 1 << 13 | 1 << 15, 0];
    // SAFETY: the first call takes a number and gives a new descriptor, which is closed; the second fills the
    // structure, a local.
    let told = unsafe {
        let descriptor = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY) as i32;
        let told = descriptor >= 0 && libc::ioctl(descriptor, UFFDIO_API, request.as_mut_ptr()) == 0;
        libc::close(descriptor);
        told
    };
    if !told {
        not_run(
            "this kernel, or who forbids userfaultfd, does not tell which pages of a process are written",
        );
    }
    !told
}

/// Whether guests run in processes.
pub(crate) fn is_process() -> bool {
    std::env::var(Backend::VARIABLE).is_ok_and(|name| name == "process")
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

/// Runs a program that was written just now: a child that another test starts meanwhile holds it open
/// for writing until it executes its own.
pub(crate) fn output_of_copy(mut command: Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            ended => return ended.expect("coracle starts"),
        }
    }
}

/// Runs a command with this input, through a pipe. A program need not read all of it.
pub(crate) fn fed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("coracle starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || match pipe.write_all(input) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => panic!("{error}"),
            _ => {}
        });
        child.wait_with_output().expect("coracle ends")
    })
}

/// What a program wrote to its standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a program wrote to its standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
