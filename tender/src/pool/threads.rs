//! How the pool's threads are started.

use crate::machine::Undisturbed;
use std::io;
use std::thread;

/// The bytes of stack that a thread gets: crash reports take some.
const STACK: usize = 1 << 20;

/// Starts a thread that no signal of the process is handled on: those are for the threads of the program
/// that uses the library.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A new thread has the mask of the one that starts it.
    let _mask = Undisturbed::but_for_kicks();
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run).map(drop)
}
