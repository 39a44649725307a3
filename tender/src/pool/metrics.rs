//! What a pool has done.

use super::error::{CallError, Fault};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a pool has done so far, and has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls in which the guest failed.
    pub guest_failures: u64,
    /// Calls in which the guest used more than it may.
    pub overruns: u64,
    /// Calls that the host could not make, or had no instance for.
    pub host_failures: u64,
    /// Calls whose caller gave up.
    pub cancelled: u64,
    /// Nanoseconds that calls took, all in all, the waits for instances included.
    pub call_ns: u64,
    /// Instances that were made.
    pub created: u64,
    /// Instances that were thrown away, because their run ended badly or they could not be made clean.
    pub discarded: u64,
    /// Pages that were copied back to make instances clean.
    pub pages_copied: u64,
    /// Instances that there are.
    pub instances: usize,
    /// Of these, those that wait for a call.
    pub idle: usize,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    answered: AtomicU64,
    guest_failures: AtomicU64,
    overruns: AtomicU64,
    host_failures: AtomicU64,
    cancelled: AtomicU64,
    call_ns: AtomicU64,
    pub(super) created: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) pages_copied: AtomicU64,
}

impl Counters {
    pub(super) fn called<T>(&self, result: &Result<T, CallError>, took: Duration) {
        let counter = match result.as_ref().err().map(CallError::fault) {
            None => &self.answered,
            Some(Fault::Guest) => &self.guest_failures,
            Some(Fault::Limit) => &self.overruns,
            Some(Fault::Host) => &self.host_failures,
            Some(Fault::Caller) => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.call_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, instances: usize, idle: usize) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            answered: get(&self.answered),
            guest_failures: get(&self.guest_failures),
            overruns: get(&self.overruns),
            host_failures: get(&self.host_failures),
            cancelled: get(&self.cancelled),
            call_ns: get(&self.call_ns),
            created: get(&self.created),
            discarded: get(&self.discarded),
            pages_copied: get(&self.pages_copied),
            instances,
            idle,
        }
    }
}
