//! Locks.

mod lock;
mod reentrant;

pub(crate) use lock::{Guard, Lock};
pub(crate) use reentrant::{Held, Reentrant};

/// Whether another thread could run at the same time. While there is one vCPU none can, for
/// nothing preempts the thread that it runs; then locks need no atomic read-modify-write
/// instruction, which costs as much as the rest of a small allocation.
pub(crate) fn threads_run_at_once() -> bool {
    crate::boot::info().vcpus > 1
}
