//! A confined process opens the files that it was given and no others.

use super::in_a_child;
use crate::library::alone;
use crate::not_run::not_run;
use crate::scratch::Scratch;
use coracle_tender::confine::{self, Files, Kept, give_up_capabilities, landlock_version};
use coracle_tender::machine::{Backend, Host};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

/// Whether this kernel has no landlock, which is told by name.
#[track_caller]
fn no_landlock() -> bool {
    let missing = landlock_version().is_none();
    if missing {
        not_run("this kernel has no landlock, or it is not among its security modules (lsm=)");
    }
    missing
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Runs this in a child, as which it is confined, and answers what it found to be otherwise: 0 for nothing.
fn confined(files: impl FnOnce() -> Files, checks: impl FnOnce() -> Vec<bool>) -> i32 {
    let status = in_a_child(|| {
        if files().confine().is_err() {
            return 99;
        }
        let wrong = checks().into_iter().position(|right| !right);
        wrong.map_or(0, |place| place as i32 + 1)
    });
    assert!(libc::WIFEXITED(status), "{status:#x}");
    libc::WEXITSTATUS(status)
}

#[test]
fn only_what_was_given_can_be_opened() {
    if no_landlock() {
        return;
    }
    alone("confine::files::only_what_was_given_can_be_opened", || {
        let scratch = Scratch::new();
        let [given, other] = ["given", "other"].map(|name| scratch.path().join(name));
        fs::write(&given, "given").expect("a file");
        fs::write(&other, "other").expect("a file");
        let before = File::open(&other).expect("it can be opened");
        let found = confined(
            || Files::none().and_then(|files| files.read(&given)).expect("rules"),
            || {
                vec![
                    fs::read_to_string(&given).is_ok_and(|text| text == "given"),
                    is_denied(File::open(&other)),
                    is_denied(OpenOptions::new().write(true).open(&given)),
                    is_denied(File::create(scratch.path().join("new"))),
                    is_denied(fs::read_dir(scratch.path())),
                    is_denied(fs::remove_file(&given)),
                    is_denied(fs::read("/proc/self/environ")),
                    // What is open stays so.
                    io::read_to_string(&before).is_ok_and(|text| text == "other"),
                ]
            },
        );
        assert_eq!(found, 0);
    });
}

#[test]
fn files_are_made_in_the_folder_that_was_given_and_nowhere_else() {
    if no_landlock() {
        return;
    }
    alone("confine::files::files_are_made_in_the_folder_that_was_given_and_nowhere_else", || {
        let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
        let new = scratch.path().join("new");
        let found = confined(
            || Files::none().and_then(|files| files.write_in(scratch.path())).expect("rules"),
            || {
                vec![
                    fs::write(&new, "new").is_ok(),
                    fs::rename(&new, scratch.path().join("renamed")).is_ok(),
                    is_denied(fs::write(elsewhere.path().join("new"), "new")),
                    is_denied(File::open(scratch.path().join("renamed"))),
                ]
            },
        );
        assert_eq!(found, 0);
    });
}

#[test]
fn nothing_is_connected_to() {
    if no_landlock() {
        return;
    }
    if landlock_version() < Some(4) {
        not_run("this kernel's landlock knows of no TCP (Linux 6.7)");
        return;
    }
    alone("confine::files::nothing_is_connected_to", || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let found = confined(
            || Files::none().expect("rules"),
            || {
                vec![
                    is_denied(TcpStream::connect(address)),
                    is_denied(std::net::TcpListener::bind("127.0.0.1:0")),
                ]
            },
        );
        assert_eq!(found, 0);
    });
}

#[test]
fn of_other_processes_and_the_kernels_memory_nothing_can_be_opened_where_guests_are_processes() {
    if no_landlock() {
        return;
    }
    alone(
        "confine::files::of_other_processes_and_the_kernels_memory_nothing_can_be_opened_where_guests_are_processes",
        || {
            let host = Host::open(Backend::Process).expect("a host");
            let proc = host.reads().expect("lists of pages");
            let other = std::process::id();
            let found = confined(
                || Files::none().and_then(|files| files.read(proc)).expect("rules"),
                || {
                    let of = |process: u32, name: &str| File::open(format!("/proc/{process}/{name}"));
                    let mut checks = vec![give_up_capabilities(Kept::Nothing).is_ok()];
                    // A landlock's own parent is outside of it.
                    for name in
                        ["mem", "environ", "maps", "smaps", "pagemap", "auxv", "fd/0", "root/etc/passwd"]
                    {
                        checks.push(is_denied(of(other, name)));
                    }
                    checks.push(File::open("/proc/kcore").is_err());
                    checks.push(File::open("/proc/kmsg").is_err());
                    // SAFETY: the child does nothing but wait for its end, and is waited for.
                    unsafe {
                        let child = libc::fork();
                        if child == 0 {
                            libc::pause();
                            libc::_exit(0);
                        }
                        checks.push(of(child.cast_unsigned(), "pagemap").is_ok());
                        libc::kill(child, libc::SIGKILL);
                        libc::waitpid(child, std::ptr::null_mut(), 0);
                    }
                    checks
                },
            );
            assert_eq!(found, 0);
        },
    );
}

#[test]
fn with_kvm_nothing_in_proc_is_given() {
    match Host::open(Backend::Kvm) {
        Ok(host) => assert_eq!(host.reads(), None),
        Err(error) => not_run(error),
    }
}

#[test]
fn descriptors_are_closed_but_for_those_that_were_opened() {
    alone("confine::files::descriptors_are_closed_but_for_those_that_were_opened", || {
        let status = in_a_child(|| {
            let open = || File::open("/dev/null");
            let (Ok(first), Ok(second), Ok(third)) = (open(), open(), open()) else { return 1 };
            let is_open = |file: &File| {
                // SAFETY: the request takes no pointer.
                unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(file), libc::F_GETFD) != -1 }
            };
            if confine::close_others(&[third.as_fd(), first.as_fd()]).is_err() {
                return 2;
            }
            // SAFETY: the requests take no pointers.
            let streams = (0..3).all(|stream| unsafe { libc::fcntl(stream, libc::F_GETFD) != -1 });
            let right = is_open(&first) && !is_open(&second) && is_open(&third) && streams;
            std::mem::forget(second);
            if right { 0 } else { 3 }
        });
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    });
}
