//! Errors: each says on whose side a call went wrong.

use super::{NONE, obedient, pool_of, snapshot, text};
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{CallError, Fault, HostFailure, Limits, Overrun, Pool};
use futures_executor::block_on;

#[test]
fn a_guest_that_answers_that_it_failed_says_why() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let error = pool.call(b"fail no such boat\x1b[31m", NONE).expect_err("it fails");
    assert_eq!(error.fault(), Fault::Guest);
    let CallError::Failed { reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason, "no such boat\\u{1b}[31m");
    assert_eq!(error.to_string(), "the guest failed: no such boat\\u{1b}[31m");
    assert_eq!(pool.metrics().discarded, 0, "such a machine is used again");
}

#[test]
fn a_program_that_ends_with_another_status_than_0_is_an_error_with_its_output() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let error = pool.call(b"exit 7", NONE).expect_err("it ends");
    assert_eq!(error.fault(), Fault::Guest);
    assert!(matches!(error, CallError::Exited { status: 7, .. }), "{error:?}");

    let pool = Pool::builder(snapshot(&guest("main_error"), &[])).build().expect("a pool");
    let error = pool.call(b"", NONE).expect_err("it ends");
    let CallError::Exited { status: 1, diagnostics, .. } = error else { panic!("{error:?}") };
    assert!(!diagnostics.is_empty());
}

#[test]
fn a_guest_that_panics_has_crashed_with_a_report() {
    if no_kvm() {
        return;
    }
    let error = pool_of(1).call(b"panic leaking", NONE).expect_err("it crashes");
    assert_eq!(error.fault(), Fault::Guest);
    let message = error.to_string();
    assert!(message.starts_with("the guest panicked at "), "{message}");
    assert!(message.ends_with(": leaking"), "{message}");
    let CallError::Crashed { report, .. } = error else { panic!("{error:?}") };
    assert!(report.contains("on_command"), "{report}");
}

#[test]
fn a_guest_that_the_cpu_stops_has_crashed_with_a_report() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let error = pool.call(b"fault", NONE).expect_err("it crashes");
    let CallError::Crashed { summary, .. } = &error else { panic!("{error:?}") };
    assert!(summary.starts_with("guest crashed: write to 0x8"), "{summary}");
    let error = pool.call(b"recurse", NONE).expect_err("it crashes");
    let CallError::Crashed { summary, .. } = &error else { panic!("{error:?}") };
    assert!(summary.contains("stack overflow"), "{summary}");
    assert_eq!(error.fault(), Fault::Guest);
    assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
}

#[test]
fn a_guest_that_overruns_is_told_from_one_that_failed() {
    if no_kvm() {
        return;
    }
    let error = pool_of(1).call(b"output 100", Limits::new().output(99)).expect_err("it overruns");
    assert_eq!(error.fault(), Fault::Limit);
    assert!(matches!(error, CallError::Overran(Overrun::Output(99))), "{error:?}");
    assert_eq!(error.to_string(), "the guest put out more than 99 bytes");
}

#[test]
fn what_panics_of_the_callers_own_is_the_hosts_failure_and_costs_the_pool_nothing() {
    if no_kvm() {
        return;
    }
    let pool = obedient().max(1).log(|_| panic!("for the test")).build().expect("a pool");
    for _ in 0..20 {
        let error = block_on(pool.call_async(b"log", NONE)).expect_err("the log panics");
        assert!(matches!(error, CallError::Host(HostFailure::Panicked)), "{error:?}");
        assert_eq!(error.fault(), Fault::Host);
    }
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.call(b"log", NONE)));
    assert!(panics.is_err(), "on the caller's own thread it is the caller's panic");
    assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
}
