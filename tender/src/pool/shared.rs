//! What all threads of a pool share: its instances, and what becomes of them.

use super::builder::{Builder, Log};
use super::error::{CallError, HostFailure};
use super::functions::Functions;
use super::keeper::Tasks;
use super::limits::Limits;
use super::metrics::Counters;
use super::shards::Shards;
use super::threads::{Confined, cpus};
use super::turn::Lengths;
use super::workers::Workers;
use crate::calls::Requests;
use crate::forks::Process;
use crate::instance::Instance;
use crate::snapshot::Snapshot;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More changed pages than this are copied back by the pool's own thread, not by the caller's.
const MANY_PAGES: usize = 512;

/// What all threads share.
pub(super) struct Shared {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) idle: Shards,
    /// How many instances there are.
    pub(super) live: AtomicUsize,
    least: usize,
    most: usize,
    pub(super) limits: Limits,
    pub(super) functions: Functions,
    pub(super) log: Option<Log>,
    pub(super) counters: Counters,
    pub(super) tasks: Arc<Tasks>,
    pub(super) workers: Arc<Workers>,
    /// For how long an instance is kept that nobody uses.
    pub(super) kept: Duration,
    /// The process that may use it.
    process: Process,
    /// What its threads may do.
    pub(super) confined: Confined,
    /// How many wait for an instance. It changes under the lock.
    waiters: AtomicUsize,
    /// How they are told of one.
    waiting: Mutex<()>,
    freed: Condvar,
    /// Whether calls take long.
    pub(super) lengths: Lengths,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("live", &self.live).field("most", &self.most).finish_non_exhaustive()
    }
}

/// An instance that a call has. When this is dropped the pool has it back.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    shared: &'a Shared,
    instance: Option<Instance>,
    /// Whether it can be made clean.
    pub(super) usable: bool,
}

impl Taken<'_> {
    pub(super) fn instance(&mut self) -> Option<&mut Instance> {
        self.instance.as_mut()
    }

    /// Takes it away from the pool: it still counts, and whoever has it now brings it
    /// [back](Shared::taken).
    pub(super) fn keep(mut self) -> Option<Instance> {
        self.instance.take()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        match self.instance.take() {
            Some(instance) if self.usable => self.shared.give_back(instance),
            Some(instance) => self.shared.discard(instance),
            None => {}
        }
    }
}

impl Shared {
    pub(super) fn new(builder: Builder) -> Shared {
        let most = builder.most.max(1);
        let cpus = cpus();
        let confined = Confined::new(builder.confined, &builder.snapshot.host);
        Shared {
            snapshot: builder.snapshot,
            idle: Shards::new(cpus),
            live: AtomicUsize::new(0),
            least: builder.least.min(most),
            most,
            limits: builder.limits,
            functions: builder.functions,
            log: builder.log,
            counters: Counters::default(),
            tasks: Arc::default(),
            workers: Arc::new(Workers::new(cpus.min(most), most)),
            kept: builder.kept,
            process: Process::this(),
            confined,
            waiters: AtomicUsize::new(0),
            waiting: Mutex::new(()),
            freed: Condvar::new(),
            lengths: Lengths::default(),
        }
    }

    /// Makes the first instance.
    pub(super) fn prepare(&self) -> Result<(), HostFailure> {
        if self.reserve() {
            self.idle.give(self.make()?);
        }
        Ok(())
    }

    /// Whether this is the process that the pool belongs to.
    pub(super) fn check_process(&self) -> Result<(), HostFailure> {
        if self.process.is_this() { Ok(()) } else { Err(HostFailure::Forked) }
    }

    /// An instance that counts, as one that a call has.
    pub(super) fn taken(&self, instance: Instance) -> Taken<'_> {
        Taken { shared: self, instance: Some(instance), usable: false }
    }

    /// A clean instance that waits.
    pub(super) fn take_ready(&self) -> Option<Taken<'_>> {
        self.idle.take().map(|instance| self.taken(instance))
    }

    /// Whether calls wait for an instance.
    pub(super) fn are_waiting(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// A clean instance: one that waits, or a new one, or one that another call gives back.
    pub(super) fn take(
        &self,
        start: Instant,
        deadline: Option<Instant>,
        requests: Option<&Arc<Requests>>,
    ) -> Result<Taken<'_>, CallError> {
        if let Some(taken) = self.take_ready() {
            return Ok(taken);
        }
        if self.reserve() {
            return Ok(self.taken(self.make()?));
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let found = loop {
            if let Some(instance) = self.idle.take() {
                break Ok(Some(instance));
            }
            if self.reserve() {
                break Ok(None);
            }
            if requests.is_some_and(|requests| requests.is_cancelled()) {
                break Err(CallError::Cancelled);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            waiting = match left {
                Some(Duration::ZERO) => break Err(CallError::Busy(start.elapsed())),
                Some(left) => {
                    self.freed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.freed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        drop(waiting);
        match found? {
            Some(instance) => Ok(self.taken(instance)),
            None => Ok(self.taken(self.make()?)),
        }
    }

    /// Tells one of those who wait that there is an instance, or room for one.
    fn tell_of_room(&self) {
        self.tell(Condvar::notify_one);
    }

    /// Tells all who wait to look whether they still are to.
    pub(super) fn tell_of_cancelling(&self) {
        self.tell(Condvar::notify_all);
    }

    /// No one is missed: a waiter counts itself before it looks for what it waits for, and whoever tells has
    /// changed that before he looks at the count. Both in one order (idle instances are behind locks, all
    /// else is sequentially consistent), so one of the two sees the other. A waiter that is seen holds the
    /// lock from then on until it waits.
    fn tell(&self, notify: impl FnOnce(&Condvar)) {
        if self.are_waiting() {
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            notify(&self.freed);
        }
    }

    /// Whether there may be one more instance, which then counts.
    fn reserve(&self) -> bool {
        let one_more = |live| (live < self.most).then_some(live + 1);
        self.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    /// Makes an instance that counts already.
    fn make(&self) -> Result<Instance, HostFailure> {
        match Instance::resume(&self.snapshot) {
            Ok(instance) => {
                self.counters.created.fetch_add(1, Ordering::Relaxed);
                Ok(instance)
            }
            Err(error) => {
                self.live.fetch_sub(1, Ordering::SeqCst);
                self.tell_of_room();
                Err(error.into())
            }
        }
    }

    /// Takes an instance back whose run ended well.
    fn give_back(&self, mut instance: Instance) {
        match instance.count_written() {
            Ok(pages) if pages <= MANY_PAGES => self.clean(instance),
            Ok(_) => {
                if let Some(instance) = self.tasks.clean(instance) {
                    self.clean(instance);
                }
            }
            Err(_) => self.discard(instance),
        }
    }

    /// Makes an instance clean and keeps it for the next call.
    pub(super) fn clean(&self, mut instance: Instance) {
        match instance.reset() {
            Ok(reset) => {
                self.counters.pages_copied.fetch_add(reset.copied as u64, Ordering::Relaxed);
                self.idle.give(instance);
                self.tell_of_room();
            }
            Err(_) => self.discard(instance),
        }
    }

    /// Throws an instance away, on the keeper's thread unless that has a lot to do.
    fn discard(&self, instance: Instance) {
        self.counters.discarded.fetch_add(1, Ordering::Relaxed);
        let too_many = self.tasks.discard(instance);
        drop(too_many);
        self.live.fetch_sub(1, Ordering::SeqCst);
        self.tell_of_room();
        // Not before it is counted out: the keeper would find that there are enough.
        self.tasks.fill();
    }

    /// Makes instances until there are as many as there should be.
    pub(super) fn fill(&self) {
        while self.live.load(Ordering::Relaxed) < self.least && self.reserve() {
            // Where none can be made, the next call says why.
            let Ok(instance) = self.make() else { return };
            self.idle.give(instance);
            self.tell_of_room();
        }
    }

    /// Gives back instances that nobody has used for some time.
    pub(super) fn shrink(&self) {
        let more = self.live.load(Ordering::Relaxed).saturating_sub(self.least);
        let unused = self.idle.take_unused(more, self.kept);
        let count = unused.len();
        drop(unused);
        self.live.fetch_sub(count, Ordering::SeqCst);
        (0..count).for_each(|_| self.tell_of_room());
    }
}
