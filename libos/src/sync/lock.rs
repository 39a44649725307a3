//! A spinning lock.

use super::threads_run_at_once;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A spinning lock that costs next to nothing where no other thread can run.
pub(crate) struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: one guard at a time gives access to the value.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Lock<T> {
        Lock { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        loop {
            match self.try_lock() {
                Some(guard) => return guard,
                None if threads_run_at_once() => spin_loop(),
                None => never_released(),
            }
        }
    }

    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let was_held = if threads_run_at_once() {
            self.held.swap(true, Ordering::Acquire)
        } else {
            let held = self.held.load(Ordering::Relaxed);
            self.held.store(true, Ordering::Relaxed);
            held
        };
        (!was_held).then(|| Guard(self))
    }
}

/// No other thread can run: whoever holds the lock is waiting for itself.
#[cold]
fn never_released() -> ! {
    panic!("a lock is taken again by the code that holds it")
}

/// Access to the value, for as long as this lives.
pub(crate) struct Guard<'a, T>(&'a Lock<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, this one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is one guard at a time, this one.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}
