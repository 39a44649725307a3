//! Clean instances that wait for a call.
//!
//! Each thread has a shard that it takes from and gives to first, so that threads do not meet, and an
//! instance mostly stays on its thread: its memory is in that CPU's caches, and some kernels let a vCPU
//! change its thread only after a pause.

use crate::instance::Instance;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Instances by thread, each with the time when it was given back.
#[derive(Debug)]
pub(super) struct Shards(Box<[Mutex<Shard>]>);

type Shard = VecDeque<(Instant, Instance)>;

impl Shards {
    /// Room for the threads of `cpus` CPUs.
    pub(super) fn new(cpus: usize) -> Shards {
        Shards((0..(2 * cpus).next_power_of_two()).map(|_| Mutex::default()).collect())
    }

    fn at(&self, index: usize) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.0.get(index % self.0.len().max(1))?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes one, that which this thread gave back last if there is one.
    pub(super) fn take(&self) -> Option<Instance> {
        let own = thread_number();
        (own..own + self.0.len()).find_map(|index| Some(self.at(index)?.pop_back()?.1))
    }

    /// Keeps one.
    pub(super) fn give(&self, instance: Instance) {
        if let Some(mut shard) = self.at(thread_number()) {
            shard.push_back((Instant::now(), instance));
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        (0..self.0.len()).filter_map(|index| self.at(index)).map(|shard| shard.len()).sum()
    }

    /// Takes up to `most` that nobody has used for so long.
    pub(super) fn take_unused(&self, most: usize, unused: Duration) -> Vec<Instance> {
        let mut taken = Vec::new();
        for index in 0..self.0.len() {
            let Some(mut shard) = self.at(index) else { continue };
            while taken.len() < most
                && let Some((_, instance)) = shard.pop_front_if(|(since, _)| since.elapsed() >= unused)
            {
                taken.push(instance);
            }
        }
        taken
    }
}

/// A number for each thread, small and not the same for two that live long.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}
