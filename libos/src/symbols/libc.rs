//! What crates of the Linux target want of the C library although they do without `std`.
//!
//! `getrandom` asks `dlsym` for a function of that name and gets ours. For older kernels it knows
//! other ways, whose functions must be there to link; they refuse.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::num::NonZeroI32;
use core::sync::atomic::{AtomicI32, Ordering};

/// The errno of a system call that does not exist.
const ENOSYS: c_int = 38;

static ERRNO: AtomicI32 = AtomicI32::new(0);

#[unsafe(no_mangle)]
extern "C" fn __errno_location() -> *mut c_int {
    ERRNO.as_ptr()
}

/// # Safety
/// `buffer` points to `length` bytes to be overwritten.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length > 0 {
        // SAFETY: the caller's promise; bytes need no initialisation to be overwritten by the tender.
        crate::random::fill(unsafe { core::slice::from_raw_parts_mut(buffer, length) });
    }
    length as isize
}

/// The hook of `getrandom` built with `--cfg getrandom_backend="custom"`, for custom targets.
///
/// # Safety
/// `buffer` points to `length` bytes to be overwritten.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(buffer: *mut u8, length: usize) -> Result<(), NonZeroI32> {
    // SAFETY: the caller's promise.
    unsafe { getrandom(buffer, length, 0) };
    Ok(())
}

/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn dlsym(_library: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    if unsafe { CStr::from_ptr(name) } == c"getrandom" {
        getrandom as *mut c_void
    } else {
        core::ptr::null_mut()
    }
}

macro_rules! refused {
    ($($name:ident -> $result:ty;)+) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $name() -> $result {
            ERRNO.store(ENOSYS, Ordering::Relaxed);
            -1
        })+
    };
}

refused! {
    open -> c_int;
    read -> isize;
    poll -> c_int;
    close -> c_int;
    syscall -> c_long;
}
