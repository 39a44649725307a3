//! Signals: which one the library takes, and that it leaves others alone.

use super::{NONE, pool_of, text, wait_until};
use crate::lane::times;
use crate::library::alone;
use crate::support::no_kvm;
use coracle_tender::machine::kick_signal;
use coracle_tender::pool::{CallError, Limits};
use futures_executor::block_on;
use std::mem::MaybeUninit;
use std::time::Duration;

fn threads_of_pools() -> impl Iterator<Item = (String, std::fs::DirEntry)> {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    threads
        .map(|thread| (std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default(), thread))
        .filter(|(name, _)| name.starts_with("coracle-"))
}

/// The signals that a thread of this process blocks, by the kernel's word.
fn blocked(thread: &std::fs::DirEntry) -> Option<u64> {
    let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[test]
fn threads_of_the_pool_leave_the_signals_of_the_process_to_its_own_threads() {
    if no_kvm() {
        return;
    }
    alone("pool::signals::threads_of_the_pool_leave_the_signals_of_the_process_to_its_own_threads", || {
        let pool = pool_of(2);
        block_on(pool.call_async(b"echo", NONE)).expect("an answer");
        // A thread gives itself its name.
        wait_until(|| threads_of_pools().count() >= 2);
        for (name, thread) in threads_of_pools() {
            let mask = blocked(&thread).expect("it has a mask");
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1] {
                assert!(mask & 1 << (signal - 1) != 0, "{name} gets signal {signal}");
            }
            assert!(mask & 1 << (kick_signal() - 1) == 0, "{name} cannot be kicked");
        }
    });
}

#[test]
fn the_mask_of_a_thread_that_calls_is_as_it_was() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let mask = || {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: the set is a local, and filled before it is read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
            let mask: libc::sigset_t = mask.assume_init();
            (1..=64).filter(|signal| libc::sigismember(&mask, *signal) == 1).collect::<Vec<_>>()
        }
    };
    // SAFETY: the set is a local.
    unsafe {
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
    let before = mask();
    assert!(before.contains(&kick_signal()));
    pool.call(b"loop", Limits::new().time(Duration::from_millis(10))).expect_err("it has no end");
    assert_eq!(mask(), before);
}

#[test]
fn signals_of_the_process_do_not_disturb_calls() {
    if no_kvm() {
        return;
    }
    alone("pool::signals::signals_of_the_process_do_not_disturb_calls", || {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: the handler does nothing; the timer is of this process, which runs this test alone.
        unsafe {
            libc::signal(libc::SIGALRM, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t);
            let often = libc::timeval { tv_sec: 0, tv_usec: 200 };
            let every = libc::itimerval { it_interval: often, it_value: often };
            libc::setitimer(libc::ITIMER_REAL, &every, std::ptr::null_mut());
        }
        let pool = pool_of(1);
        for _ in 0..times(2000, 100) {
            assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
        }
        // Each of these takes a new machine.
        for _ in 0..times(200, 10) {
            let error = pool.call(b"fault", NONE).expect_err("it crashes");
            assert!(matches!(error, CallError::Crashed { .. }), "{error:?}");
        }
    });
}
