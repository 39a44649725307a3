//! Functions that run before `main`.

use super::Main;
use core::ffi::{c_char, c_int};

unsafe extern "C" {
    // Set by the linker: pointers to functions that are called as `main` is.
    static __init_array_start: [Main; 0];
    static __init_array_end: [Main; 0];
}

/// Runs what the linker has gathered from the program's parts.
///
/// # Safety
/// Called once, with the arguments of `main`, when all that `main` may use is ready.
pub(super) unsafe fn run(argc: c_int, argv: *const *const c_char, environment: *const *const c_char) {
    let mut next = (&raw const __init_array_start).cast::<Main>();
    while next.addr() < (&raw const __init_array_end).addr() {
        // SAFETY: `next` is within the list.
        unsafe {
            (*next)(argc, argv, environment);
            next = next.add(1);
        }
    }
}
