//! Guests whose time is up.

use crate::child::{Blocked, Running, block_signals};
use crate::lane::delay;
use crate::library::Machine;
use crate::support::{guest, no_kvm, output, run, stdout};
use coracle_hypercall::exit;
use coracle_tender::instance::End;
use coracle_tender::machine::kick_signal;
use std::mem::MaybeUninit;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_guest_that_waits_for_ever_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&["--timeout", "200ms"], guest("wait_forever"), &[]));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
}

#[test]
fn an_endless_loop_ends_when_its_time_is_up() {
    times_out("compute");
}

#[test]
fn a_guest_that_makes_calls_for_ever_ends_when_its_time_is_up() {
    times_out("call");
}

#[test]
fn a_guest_whose_calls_keep_the_tender_busy_ends_when_its_time_is_up() {
    times_out("log");
}

#[test]
fn a_guest_that_sleeps_for_ever_ends_when_its_time_is_up() {
    times_out("sleep");
}

fn times_out(what: &str) {
    if no_kvm() {
        return;
    }
    let ended = output(run(&["--quiet", "--timeout", "300ms"], guest("forever"), &[what]));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
    assert_eq!(stdout(&ended), "ready\n");
}

#[test]
fn a_guest_that_reads_an_idle_pipe_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let mut running = Running::start(
        run(&["--timeout", "300ms"], guest("forever"), &["read"]).stdin(Stdio::piped()).stderr(Stdio::null()),
    );
    let input = running.input();
    assert_eq!(running.ended().code(), Some(exit::TIMEOUT.into()));
    drop(input);
}

#[test]
fn a_guest_that_writes_into_a_full_pipe_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let running =
        Running::start(run(&["--timeout", "1s"], guest("forever"), &["write"]).stderr(Stdio::null()));
    running.wait_until(Blocked::Writing);
    assert_eq!(running.ended().code(), Some(exit::TIMEOUT.into()));
}

#[test]
fn a_guest_whose_log_nobody_reads_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let mut command = run(&["--timeout", "1s", "--stats"], guest("forever"), &["log"]);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let _unread = running.error();
    running.wait_until(Blocked::Saying);
    assert_eq!(running.ended().code(), Some(exit::TIMEOUT.into()));
}

#[test]
fn a_guest_that_starts_with_all_signals_blocked_ends_when_its_time_is_up() {
    if no_kvm() {
        return;
    }
    let mut command = run(&["--quiet", "--timeout", "300ms"], guest("forever"), &["compute"]);
    let running = Running::start(block_signals(&mut command));
    assert_eq!(running.ended().code(), Some(exit::TIMEOUT.into()));
}

#[test]
fn a_thread_that_blocks_the_kick_signal_still_does_when_its_guest_has_ended() {
    if no_kvm() {
        return;
    }
    let mut kick = MaybeUninit::uninit();
    let mut after = MaybeUninit::uninit();
    // SAFETY: both sets are locals, filled before they are read.
    unsafe {
        libc::sigemptyset(kick.as_mut_ptr());
        libc::sigaddset(kick.as_mut_ptr(), kick_signal());
        libc::pthread_sigmask(libc::SIG_BLOCK, kick.as_ptr(), std::ptr::null_mut());
    }
    let machine = Machine::open(guest("forever"));
    let (end, _) = machine.run(&mut machine.boot(&["compute"]), Some(Duration::from_millis(100)));
    assert!(matches!(end, End::TimedOut), "{end:?}");
    // SAFETY: as above.
    let blocked = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), after.as_mut_ptr());
        libc::sigismember(after.as_ptr(), kick_signal())
    };
    assert_eq!(blocked, 1);
}

#[test]
fn a_guest_without_time_does_not_run() {
    if no_kvm() {
        return;
    }
    let ended = output(run(&["--timeout", "0"], guest("forever"), &["compute"]));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
    assert_eq!(stdout(&ended), "");
}

#[test]
fn a_guest_with_more_time_than_any_clock_shows_runs() {
    if no_kvm() {
        return;
    }
    let ended = output(run(&["--timeout", "5000000000000000h"], guest("exit_with"), &["3"]));
    assert_eq!(ended.status.code(), Some(3));
}

/// The best of some tries counts: a busy machine makes any of them late.
#[test]
fn no_guest_ends_before_its_time_or_long_after_it() {
    if no_kvm() {
        return;
    }
    const LIMIT: Duration = Duration::from_millis(100);
    for what in ["compute", "call", "log", "wait", "sleep"] {
        let machine = Machine::open(guest("forever"));
        let late = (0..5).map(|_| {
            let mut instance = machine.boot(&[what]);
            let begin = Instant::now();
            let (end, _) = machine.run(&mut instance, Some(LIMIT));
            assert!(matches!(end, End::TimedOut), "{what}: {end:?}");
            let taken = begin.elapsed();
            assert!(taken >= LIMIT, "{what} ended after {taken:?}");
            taken - LIMIT
        });
        let least = late.min().unwrap_or_default();
        assert!(least < delay(Duration::from_millis(50)), "{what} ended {least:?} after its time");
    }
}
