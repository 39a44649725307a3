//! A fork: the pool belongs to the parent.

use super::{NONE, pool_of, snapshot, text};
use crate::library::alone;
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{CallError, HostFailure, Limits, Overrun, Pool};
use futures_executor::block_on;
use std::time::Duration;

/// What a child finds, as the status that it ends with: 0 when it is as it should be.
fn in_a_child(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: this process runs this test alone, and the child ends within this function.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
            // SAFETY: nothing of the parent's is to be run at the end of the child.
            unsafe { libc::_exit(i32::from(!well)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the status is a local.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "the child ended by signal {}", libc::WTERMSIG(status));
            libc::WEXITSTATUS(status)
        }
    }
}

#[test]
fn calls_of_a_forked_child_are_refused_and_the_parent_goes_on() {
    if no_kvm() {
        return;
    }
    alone("pool::fork::calls_of_a_forked_child_are_refused_and_the_parent_goes_on", || {
        let pool = pool_of(2);
        block_on(pool.call_async(b"echo", NONE)).expect("an answer");
        let refused = |error: &CallError| matches!(error, CallError::Host(HostFailure::Forked));
        let status = in_a_child(|| {
            let blocking = pool.call(b"echo", NONE).expect_err("refused");
            let own = block_on(pool.call_async(b"echo", NONE)).expect_err("refused");
            // SAFETY: the child ends without using the parent's handle.
            drop(unsafe { std::ptr::read(&raw const pool) });
            refused(&blocking) && refused(&own)
        });
        assert_eq!(status, 0);
        assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
        assert_eq!(text(block_on(pool.call_async(b"calls", NONE)).expect("an answer")), "1");
    });
}

#[test]
fn a_forked_child_may_make_a_pool_of_its_own_with_deadlines() {
    if no_kvm() {
        return;
    }
    alone("pool::fork::a_forked_child_may_make_a_pool_of_its_own_with_deadlines", || {
        let pool = pool_of(1);
        pool.call(b"echo", NONE).expect("an answer");
        let status = in_a_child(|| {
            let own = Pool::builder(snapshot(&guest("on_command"), &[])).build().expect("a pool");
            let limits = Limits::new().time(Duration::from_millis(20));
            let error = own.call(b"loop", limits).expect_err("it has no end");
            matches!(error, CallError::Overran(Overrun::Time(_))) && own.call(b"echo", NONE).is_ok()
        });
        assert_eq!(status, 0);
    });
}
