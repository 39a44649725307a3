//! SIGINT and SIGTERM become requests to the guest.

use coracle_tender::calls::Request;
use coracle_tender::instance::Stopper;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The stopper of the one guest that this process runs, null before and after.
static STOPPER: AtomicPtr<Stopper> = AtomicPtr::new(ptr::null_mut());

extern "C" fn on_signal(signal: libc::c_int) {
    let stopper = STOPPER.load(Ordering::Acquire);
    if !stopper.is_null() {
        // SAFETY: `forward` leaks the stopper, so that it lives as long as the process.
        let stopper = unsafe { &*stopper };
        stopper.request(if signal == libc::SIGINT { Request::Interrupt } else { Request::Terminate });
    }
}

/// From now on the guest is asked to end by this process's SIGINT and SIGTERM.
pub(super) fn forward(stopper: Stopper) {
    STOPPER.store(Box::into_raw(Box::new(stopper)), Ordering::Release);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler makes only calls that are safe in one, and there is no SA_RESTART, so
        // that blocking calls end.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}
