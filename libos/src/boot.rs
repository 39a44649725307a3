//! What the tender told the program at its start.

use coracle_hypercall::boot::BootInfo;
use core::sync::atomic::{AtomicPtr, Ordering};

static INFO: AtomicPtr<BootInfo> = AtomicPtr::new(core::ptr::null_mut());

/// Keeps the place of the boot information.
///
/// # Safety
/// `info` points to a whole `BootInfo` that stays and is never written.
pub(crate) unsafe fn set(info: *const BootInfo) {
    INFO.store(info.cast_mut(), Ordering::Relaxed);
}

/// The boot information. Only code that runs before the program's `main` may find none.
pub(crate) fn info() -> &'static BootInfo {
    // SAFETY: `set` has put there what stays and is never written, or nothing.
    match unsafe { INFO.load(Ordering::Relaxed).as_ref() } {
        Some(info) => info,
        None => crate::process::trap(),
    }
}
