//! The boot information, found as the contract says: through the auxiliary vector.

use coracle::hypercall::boot::{AT_CORACLE, BootInfo};
use core::ffi::{c_char, c_int};
use core::sync::atomic::{AtomicPtr, Ordering};

static INFO: AtomicPtr<BootInfo> = AtomicPtr::new(core::ptr::null_mut());

type Constructor = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static FIND: Constructor = find;

/// Runs before `main`, with the arguments of `main`.
unsafe extern "C" fn find(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    let mut next = environment.cast::<u64>();
    // SAFETY: the environment ends with null; behind it is the auxiliary vector, which ends with a
    // pair of zeros and has the pair that is looked for.
    unsafe {
        while *next != 0 {
            next = next.add(1);
        }
        next = next.add(1);
        while *next != AT_CORACLE {
            next = next.add(2);
        }
        INFO.store(core::ptr::with_exposed_provenance_mut(*next.add(1) as usize), Ordering::Relaxed);
    }
}

/// The boot information.
pub fn info() -> &'static BootInfo {
    // SAFETY: the tender keeps it there, read-only, for as long as the guest runs.
    unsafe { &*INFO.load(Ordering::Relaxed) }
}
