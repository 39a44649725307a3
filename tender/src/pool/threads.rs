//! How the pool's threads are started.

use crate::kvm::kick_signal;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;

/// The bytes of stack that a thread gets: crash reports take some.
const STACK: usize = 1 << 20;

/// Signals of the CPU: they concern the thread that they come from.
const OF_THE_CPU: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// Starts a thread that no signal of the process is handled on: those are for the threads of the program
/// that uses the library.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are locals and filled before they are used; none of these calls can fail with them.
    // A new thread has the mask of the one that starts it, which gets its own back below.
    unsafe {
        let mut mask = MaybeUninit::uninit();
        libc::sigfillset(mask.as_mut_ptr());
        libc::sigdelset(mask.as_mut_ptr(), kick_signal());
        for signal in OF_THE_CPU {
            libc::sigdelset(mask.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), before.as_mut_ptr());
    }
    let started = thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run);
    // SAFETY: the set was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    started.map(drop)
}
