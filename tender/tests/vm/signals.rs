//! SIGINT and SIGTERM at the tender.

use crate::child::{Blocked, Running};
use crate::support::{guest, no_kvm, run};
use coracle_hypercall::exit;
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
