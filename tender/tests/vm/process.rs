//! The process that runs a guest: what it holds, and what others do to it.

use crate::child::Running;
use crate::support::{example, guest, run};
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `coracle run` of a guest in a process.
pub(crate) fn tender(image: PathBuf) -> Command {
    let mut command = run::<&str>(&["--backend", "process"], image, &[]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The children of a process's first thread.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().expect("a number")).collect()
}

/// The child of a tender, once it has one.
pub(crate) fn child_of(tender: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [child] = children(tender)[..] {
            return child;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the tender has no child");
        std::thread::yield_now();
    }
}

#[test]
fn the_guests_process_holds_nothing_but_the_guests_memory() {
    let mut command = tender(example("release", "cat"));
    command.stdin(Stdio::piped());
    let running = Running::start(&mut command);
    running.wait_until(crate::child::Blocked::Reading);
    let child = child_of(running.id());
    let of = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).expect("it can be read");
    assert_eq!(fs::read_dir(format!("/proc/{child}/fd")).expect("a directory").count(), 0);
    assert_eq!(of("environ"), "");
    assert_eq!(of("cmdline"), "");
    for line in of("maps").lines() {
        let rights = line.split_whitespace().nth(1).expect("rights");
        assert!(line.contains("coracle-guest") || line.contains("[vsyscall]"), "{line}");
        assert!(!rights.starts_with("rwx") && !rights.starts_with("-wx"), "{line}");
    }
    let status = of("status");
    for line in
        ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1", &format!("TracerPid:\t{}", running.id())]
    {
        assert!(status.contains(line), "{line}: {status}");
    }
}

#[test]
fn a_guest_whose_process_is_killed_ends_with_words() {
    let mut command = tender(guest("forever"));
    command.arg("compute").stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut said = running.error();
    assert_eq!(running.line(), "ready");
    let child = child_of(running.id());
    // SAFETY: the number is that of a child of a process of this test.
    assert_eq!(unsafe { libc::kill(child as i32, libc::SIGKILL) }, 0);
    assert_eq!(running.ended().code(), Some(125));
    let mut words = String::new();
    said.read_to_string(&mut words).expect("words");
    assert!(words.contains("killed"), "{words}");
}

#[test]
fn signals_that_others_send_to_the_guests_process_mean_nothing() {
    let mut command = tender(example("release", "cat"));
    command.stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    running.wait_until(crate::child::Blocked::Reading);
    let child = child_of(running.id());
    for signal in [
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGTRAP,
        libc::SIGILL,
        libc::SIGSTOP,
        libc::SIGCONT,
        libc::SIGUSR1,
    ] {
        // SAFETY: the number is that of a child of a process of this test.
        assert_eq!(unsafe { libc::kill(child as i32, signal) }, 0);
    }
    drop(running.input());
    assert_eq!(running.ended().code(), Some(0));
}
