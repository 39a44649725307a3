//! A lock that its owner may take again.

use core::cell::UnsafeCell;
use core::ops::Deref;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A spinning lock that the thread which holds it may take again, so that a `Display` that prints
/// while it is printed does not wait for itself. It gives out shared references only.
pub(crate) struct Reentrant<T> {
    /// The thread that holds the lock, 0 for none.
    owner: AtomicUsize,
    /// How many times the owner holds it; only the owner touches this.
    depth: UnsafeCell<usize>,
    value: T,
}

// SAFETY: one thread at a time reaches the value and the depth.
unsafe impl<T: Send> Sync for Reentrant<T> {}

impl<T> Reentrant<T> {
    pub(crate) const fn new(value: T) -> Reentrant<T> {
        Reentrant { owner: AtomicUsize::new(0), depth: UnsafeCell::new(0), value }
    }

    /// Waits until no other thread holds the lock.
    pub(crate) fn lock(&self) -> Held<'_, T> {
        loop {
            match self.try_lock() {
                Some(held) => return held,
                None => core::hint::spin_loop(),
            }
        }
    }

    /// Takes the lock unless another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<Held<'_, T>> {
        let me = crate::start::thread();
        if self.owner.load(Ordering::Relaxed) != me {
            self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).ok()?;
        }
        // SAFETY: this thread is the owner now.
        unsafe { *self.depth.get() += 1 };
        Some(Held { lock: self, not_send: core::marker::PhantomData })
    }
}

/// The lock is held while this lives. It stays with its thread.
pub(crate) struct Held<'a, T> {
    lock: &'a Reentrant<T>,
    not_send: core::marker::PhantomData<*const ()>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread is the owner.
        let left = unsafe {
            *self.lock.depth.get() -= 1;
            *self.lock.depth.get()
        };
        if left == 0 {
            self.lock.owner.store(0, Ordering::Release);
        }
    }
}
