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
/// [`BadArgument`](CallError::BadArgument) for another range, [`Denied`](CallError::Denied) for
/// rights that the program may not have.
///
/// # Safety
/// Whatever the program still does with the range, it may do under the new rights.
pub unsafe fn set_rights(start: *mut u8, length: usize, rights: Rights) -> Result<(), CallError> {
    // SAFETY: the caller's promise.
    unsafe { call::memory_rights(start.expose_provenance() as u64, length as u64, rights) }
}
