//! The `coracle` command.
//!
//! It starts as a C program does, without what Rust's runtime does before `main`: reading
//! /proc/self/maps and making a signal stack, to tell of overflows of the tender's own stack, took some
//! 30 µs of a start of two milliseconds. The rest of what the runtime does is done here.
#![cfg_attr(not(test), no_main)]

mod command;

use coracle_hypercall::exit;
use std::ffi::c_char;
use std::io::Write;
use std::panic::catch_unwind;

#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(_: libc::c_int, _: *const *const c_char) -> libc::c_int {
    back_heap();
    open_standard_streams();
    // SAFETY: no handler is installed, and no other thread runs. A write to a closed pipe is then an
    // error like any other.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // A panic does not unwind into C. Its message has been printed by then.
    let status = catch_unwind(command::run).unwrap_or(exit::PANIC);
    // Who does not read what was printed has been told the status.
    let _ = std::io::stdout().flush();
    status.into()
}

/// Has the host back the memory that reading the command line takes, all at once: fault by fault, its twenty
/// pages cost more than a hundredth of a start. Where the heap lies elsewhere this has no effect.
fn back_heap() {
    /// What glibc has given the heap by now, and what of it is backed.
    const HEAP: usize = 132 << 10;
    const BACKED: usize = 80 << 10;
    const PAGE: usize = 4096;
    // SAFETY: the first call takes a number and moves nothing. The other changes nothing of what memory holds,
    // and fails where there is none.
    unsafe {
        let end = libc::sbrk(0);
        let start = end.wrapping_byte_sub(end.addr() % PAGE + HEAP);
        libc::madvise(start, BACKED, libc::MADV_POPULATE_WRITE);
    }
}

/// Opens those of the three standard streams that are closed, so that no file that is opened later
/// takes the place of one.
fn open_standard_streams() {
    for stream in 0..3 {
        // SAFETY: both calls take plain values and a C string.
        unsafe {
            let closed = libc::fcntl(stream, libc::F_GETFD) == -1;
            if closed && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == -1 {
                libc::abort();
            }
        }
    }
}
