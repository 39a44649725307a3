//! SIGINT and SIGTERM become requests to the guest.

use coracle_tender::calls::Request;
use coracle_tender::instance::Stopper;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The stopper of the one guest that this process runs, null before.
static STOPPER: AtomicPtr<Stopper> = AtomicPtr::new(ptr::null_mut());

extern "C" fn on_signal(signal: libc::c_int) {
    let stopper = STOPPER.load(Ordering::Acquire);
    if stopper.is_null() {
        return;
    }
    let request = if signal == libc::SIGINT { Request::Interrupt } else { Request::Terminate };
    // SAFETY: `forward` leaks the stopper, so that it lives as long as the process.
    let heard = unsafe { (*stopper).request(request) };
    if !heard {
        // The guest has ended, and the tender has but words left to say: it ends as any process would.
        // SAFETY: both calls are safe in a handler. The signal is blocked until this returns.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

/// From now on the guest is asked to end by this process's SIGINT and SIGTERM, even if they are
/// blocked so far; after its end they end this process. One that was ignored when this process
/// started (`nohup`, the background jobs of a shell) stays so.
pub(super) fn forward(stopper: Stopper) {
    STOPPER.store(Box::into_raw(Box::new(stopper)), Ordering::Release);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        if is_ignored(signal) {
            continue;
        }
        // SAFETY: the handler makes only calls that are safe in one, and there is no SA_RESTART, so
        // that blocking calls end. The set is a local, filled before it is read.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut());
            let mut set = MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
        }
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all fields of a zeroed sigaction are valid, and the call only fills it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut action);
        action.sa_sigaction == libc::SIG_IGN
    }
}
