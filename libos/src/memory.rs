//! Rights on the program's own memory.

pub use coracle_hypercall::memory::{LARGE_PAGE, PAGE, Rights};

use crate::call;
use coracle_hypercall::error::CallError;

/// Gives the pages of a range new rights. `start` and `length` are multiples of [`PAGE`], and the
/// range lies within the heap or within the stack.
///
/// No page can be writable and executable, and none of a program without
/// [`permissions!(CODE_AT_RUN_TIME)`](crate::permissions!) becomes executable.
///
/// # Errors
/// [`BadAddress`](CallError::BadAddress) for a range elsewhere,
/// [`BadArgument`](CallError::BadArgument) for one that is not of whole pages,
/// [`Denied`](CallError::Denied) for rights that the program may not have.
///
/// # Safety
/// Whatever the program still does with the range, it may do under the new rights.
pub unsafe fn set_rights(start: *mut u8, length: usize, rights: Rights) -> Result<(), CallError> {
    let start = start.expose_provenance() as u64;
    let mut done = 0;
    loop {
        let left = (length - done) as u64;
        // SAFETY: the caller's promise. The tender answers for no more than it is asked.
        done += unsafe { call::memory_rights(start + done as u64, left, rights) }?;
        if done >= length {
            return Ok(());
        }
    }
}
