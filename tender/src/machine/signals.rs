//! A time without signals for a thread.

use super::kick_signal;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// Signals of the CPU: they concern the thread that they come from.
const OF_THE_CPU: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// While this lives, this thread gets no signals but those that its own instructions cause. Threads that it
/// starts meanwhile never get others.
#[derive(Debug)]
pub(crate) struct Undisturbed {
    before: libc::sigset_t,
    bound_to_thread: PhantomData<*const ()>,
}

impl Undisturbed {
    /// From now on.
    pub(crate) fn new() -> Undisturbed {
        Undisturbed::but_for(None)
    }

    /// From now on, but for kicks.
    pub(crate) fn but_for_kicks() -> Undisturbed {
        Undisturbed::but_for(Some(kick_signal()))
    }

    fn but_for(other: Option<libc::c_int>) -> Undisturbed {
        let (mut mask, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: both sets are locals and filled before they are read; none of the calls fails with these.
        let before = unsafe {
            libc::sigfillset(mask.as_mut_ptr());
            for signal in OF_THE_CPU.into_iter().chain(other) {
                libc::sigdelset(mask.as_mut_ptr(), signal);
            }
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), before.as_mut_ptr());
            before.assume_init()
        };
        Undisturbed { before, bound_to_thread: PhantomData }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: the set is the one that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}
