//! SIGINT and SIGTERM at the tender.

use crate::child::{Blocked, Running, block_signals};
use crate::library::Machine;
use crate::support::{example, guest, no_kvm, run};
use coracle_hypercall::exit;
use coracle_tender::calls::Request;
use coracle_tender::instance::End;
use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;

/// What the guest `forever` does, and where the tender waits meanwhile, if it does.
const STATES: &[(&str, Option<Blocked>)] = &[
    ("compute", None),
    ("call", None),
    ("wait", Some(Blocked::Polling)),
    ("sleep", Some(Blocked::Polling)),
    ("read", Some(Blocked::Reading)),
    ("write", Some(Blocked::Writing)),
];

/// Starts a guest that is in this state when this returns.
fn start(what: &str, subscribed: bool, blocked: Option<Blocked>) -> Running {
    let arguments: &[&str] = if subscribed { &[what, "subscribed"] } else { &[what] };
    let mut command = run(&["--timeout", "60s"], guest("forever"), arguments);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    if let Some(blocked) = blocked {
        running.wait_until(blocked);
    }
    running
}

#[test]
fn a_guest_that_has_not_subscribed_is_ended_by_sigint_whatever_it_does() {
    ends_all(false, libc::SIGINT, exit::INTERRUPT.into());
}

#[test]
fn a_guest_that_has_not_subscribed_is_ended_by_sigterm_whatever_it_does() {
    ends_all(false, libc::SIGTERM, exit::TERMINATE.into());
}

#[test]
fn a_guest_that_has_subscribed_learns_of_sigint_and_ends_by_itself() {
    ends_all(true, libc::SIGINT, 7);
}

#[test]
fn a_guest_that_has_subscribed_learns_of_sigterm_and_ends_by_itself() {
    ends_all(true, libc::SIGTERM, 8);
}

fn ends_all(subscribed: bool, signal: i32, status: i32) {
    if no_kvm() {
        return;
    }
    for (what, blocked) in STATES {
        if subscribed && *what == "write" {
            continue;
        }
        let mut running = start(what, subscribed, *blocked);
        let input = running.input();
        running.signal(signal);
        assert_eq!(running.ended().code(), Some(status), "in the state {what}");
        drop(input);
    }
}

#[test]
fn an_event_at_any_moment_around_a_read_ends_it() {
    if no_kvm() {
        return;
    }
    for _ in 0..20 {
        let mut running = start("read", true, None);
        let input = running.input();
        running.signal(libc::SIGTERM);
        assert_eq!(running.ended().code(), Some(8));
        drop(input);
    }
}

#[test]
fn a_signal_just_after_the_start_ends_the_guest() {
    if no_kvm() {
        return;
    }
    for _ in 0..20 {
        let running = start("compute", false, None);
        running.signal(libc::SIGTERM);
        assert_eq!(running.ended().code(), Some(exit::TERMINATE.into()));
    }
}

#[test]
fn an_event_does_not_spoil_what_a_subscribed_guest_writes() {
    if no_kvm() {
        return;
    }
    let mut running = start("write", true, Some(Blocked::Writing));
    for _ in 0..10 {
        running.signal(libc::SIGTERM);
        assert!(running.bytes(3 << 20).iter().all(|&byte| byte == b'.'));
    }
    // Nobody reads on: that ends it.
    assert_eq!(running.unheard().code(), Some(exit::CLOSED_OUTPUT.into()));
}

#[test]
fn a_guest_whose_log_nobody_reads_is_ended_by_sigterm() {
    if no_kvm() {
        return;
    }
    let mut command = run(&[], guest("forever"), &["log"]);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let _unread = running.error();
    running.wait_until(Blocked::Saying);
    running.signal(libc::SIGTERM);
    assert_eq!(running.ended().code(), Some(exit::TERMINATE.into()));
}

#[test]
fn a_report_that_nobody_reads_is_given_up_at_sigterm() {
    if no_kvm() {
        return;
    }
    let (_unread, full) = full_pipe();
    let running = Running::start(run(&[], example("release", "crash"), &["null-read"]).stderr(full));
    running.wait_until(Blocked::Saying);
    running.signal(libc::SIGTERM);
    assert_eq!(running.ended().signal(), Some(libc::SIGTERM));
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // SAFETY: fcntl on an open descriptor.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
    writer.write_all(&vec![b'.'; usize::try_from(size).expect("a size")]).expect("room");
    (reader, writer)
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    if no_kvm() {
        return;
    }
    let mut command = run(&[], guest("forever"), &["read"]);
    // SAFETY: between fork and exec this only changes what signals do.
    unsafe {
        command.stdin(Stdio::piped()).pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_IGN);
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut running = Running::start(&mut command);
    let input = running.input();
    running.wait_until(Blocked::Reading);
    running.signal(libc::SIGINT);
    running.signal(libc::SIGTERM);
    // The guest finds no event, and its input at the end.
    drop(input);
    assert_eq!(running.ended().code(), Some(1));
}

#[test]
fn a_signal_that_is_blocked_at_the_start_ends_the_guest() {
    if no_kvm() {
        return;
    }
    for (signal, status) in [(libc::SIGINT, exit::INTERRUPT), (libc::SIGTERM, exit::TERMINATE)] {
        let mut running = Running::start(block_signals(&mut run(&[], guest("forever"), &["compute"])));
        assert_eq!(running.line(), "ready");
        running.signal(signal);
        assert_eq!(running.ended().code(), Some(status.into()));
    }
}

#[test]
fn a_request_after_the_end_has_no_effect() {
    if no_kvm() {
        return;
    }
    let machine = Machine::open(guest("exit_with"));
    let mut instance = machine.boot(&["0"]);
    let stopper = instance.stopper();
    let (end, _) = machine.run(&mut instance, None);
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    assert!(!stopper.request(Request::Terminate));
    // SAFETY: a wait for nothing.
    let woken = unsafe { libc::poll(std::ptr::null_mut(), 0, 200) };
    assert_eq!(woken, 0, "{}", std::io::Error::last_os_error());
}
