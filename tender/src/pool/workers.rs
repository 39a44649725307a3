//! Threads that make calls for callers which do not block.
//!
//! There are as many as CPUs, and more when work waits although they are busy: a guest that runs long holds
//! up nobody for more than a moment. One thread more watches what waits, while something does.
//!
//! Calls that are to go on in an instance that they have come first: others may wait for that. Other work has
//! never more threads than there are instances, and calls that go on may have further ones: so it does not
//! happen that all threads wait for instances of calls that wait for a thread.

use super::shared::Shared;
use super::threads::spawn;
use crate::calls::Requests;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long work waits before it gets a further thread.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long a thread stays that has no work.
const IDLE: Duration = Duration::from_secs(10);

/// A piece of work.
pub(super) struct Job {
    pub(super) since: Instant,
    /// When it is to be done even without a thread of its own: it ends at once then.
    pub(super) deadline: Option<Instant>,
    /// Whether it has an instance, for which others may wait.
    pub(super) urgent: bool,
    /// By which it is cancelled, and known.
    pub(super) requests: Arc<Requests>,
    pub(super) work: Box<dyn FnOnce(&Shared) + Send>,
}

impl Job {
    /// Does it. A panic in what the caller has given ends this piece of work and not the thread.
    pub(super) fn run(self, shared: &Shared) {
        let work = self.work;
        // What the work leaves behind when it unwinds, it gives back itself.
        let _ = catch_unwind(AssertUnwindSafe(|| work(shared)));
    }
}

/// The threads and their work.
pub(super) struct Workers {
    queue: Mutex<Queue>,
    /// Work has come, or the end.
    work: Condvar,
    /// There is something to watch, or the end.
    watch: Condvar,
    /// How many threads there are without delay.
    at_once: usize,
    most: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs that have an instance.
    urgent: VecDeque<Job>,
    threads: usize,
    /// How many of them do a job that is not urgent.
    ordinary: usize,
    /// How many of them do one that is.
    going_on: usize,
    idle: usize,
    watcher: Watcher,
    ended: bool,
}

impl Queue {
    /// Takes out what has waited until its deadline.
    fn take_late(&mut self, now: Instant) -> Vec<Job> {
        let is_late = |job: &Job| job.deadline.is_some_and(|deadline| deadline <= now);
        if !self.all().any(is_late) {
            return Vec::new();
        }
        let mut late = Vec::new();
        for jobs in [&mut self.urgent, &mut self.jobs] {
            let (these, rest) = std::mem::take(jobs).into_iter().partition::<Vec<Job>, _>(is_late);
            late.extend(these);
            *jobs = rest.into();
        }
        late
    }

    /// All that waits.
    fn all(&self) -> impl Iterator<Item = &Job> {
        self.urgent.iter().chain(&self.jobs)
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.jobs.is_empty()
    }

    /// Those among which `job` waits.
    fn of_kind(&mut self, urgent: bool) -> &mut VecDeque<Job> {
        if urgent { &mut self.urgent } else { &mut self.jobs }
    }

    /// How many threads may begin with work that is not urgent.
    fn room(&self, most: usize) -> usize {
        most.saturating_sub(self.ordinary)
    }

    /// How many jobs need nothing but a thread.
    fn ready(&self, most: usize) -> usize {
        self.urgent.len() + self.jobs.len().min(self.room(most))
    }

    /// The job to do next.
    fn first(&self, most: usize) -> Option<&Job> {
        self.urgent.front().or_else(|| if self.room(most) > 0 { self.jobs.front() } else { None })
    }

    /// Takes that.
    fn take(&mut self, most: usize) -> Option<Job> {
        if let Some(job) = self.urgent.pop_front() {
            self.going_on += 1;
            return Some(job);
        }
        if self.room(most) == 0 {
            return None;
        }
        let job = self.jobs.pop_front()?;
        self.ordinary += 1;
        Some(job)
    }

    /// A thread has done what it took.
    fn did(&mut self, urgent: bool) {
        let count = if urgent { &mut self.going_on } else { &mut self.ordinary };
        *count = count.saturating_sub(1);
    }

    /// How many threads there may be.
    fn most_threads(&self, most: usize) -> usize {
        most + self.going_on + self.urgent.len()
    }
}

/// What the thread does that watches.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Watcher {
    #[default]
    Absent,
    /// It waits for work to watch.
    Waits,
    /// It looks again then.
    Sleeps(Instant),
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Workers {
    pub(super) fn new(at_once: usize, most: usize) -> Workers {
        Workers { queue: Mutex::default(), work: Condvar::new(), watch: Condvar::new(), at_once, most }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No further work is begun. What waits is dropped.
    pub(super) fn end(&self) {
        let jobs = {
            let mut queue = self.lock();
            queue.ended = true;
            (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.urgent))
        };
        drop(jobs);
        self.work.notify_all();
        self.watch.notify_all();
    }

    /// Takes a job out that still waits for a thread.
    pub(super) fn take_out(&self, requests: &Arc<Requests>) -> Option<Job> {
        let mut queue = self.lock();
        [true, false].into_iter().find_map(|urgent| {
            let jobs = queue.of_kind(urgent);
            // Mostly it is one of the last that came.
            let place = jobs.iter().rposition(|job| Arc::ptr_eq(&job.requests, requests))?;
            jobs.remove(place)
        })
    }

    /// Has a job done.
    pub(super) fn submit(shared: &Arc<Shared>, job: Job) -> std::io::Result<()> {
        let workers = &shared.workers;
        let mut queue = workers.lock();
        let (urgent, deadline, since) = (job.urgent, job.deadline, job.since);
        queue.of_kind(urgent).push_back(job);
        let has_room = urgent || queue.jobs.len() <= queue.room(workers.most);
        let look = workers.next_look(&queue, has_room.then_some(since), deadline);
        // A thread that was told of work counts as idle until it has taken it.
        if has_room && queue.ready(workers.most) <= queue.idle {
            drop(queue);
            workers.work.notify_one();
            return Ok(());
        }
        if has_room && queue.threads < workers.at_once {
            match start(shared, &mut queue) {
                Ok(()) => return Ok(()),
                Err(error) if queue.threads == 0 => {
                    let job = queue.of_kind(urgent).pop_back();
                    drop(queue);
                    drop(job);
                    return Err(error);
                }
                // Those that there are will do it.
                Err(_) => {}
            }
        }
        match (queue.watcher, look) {
            (_, None) => {}
            (Watcher::Absent, Some(_)) => {
                let weak = Arc::downgrade(shared);
                queue.watcher = Watcher::Waits;
                if spawn(&shared.confined, "coracle-watcher", move || watch(&weak)).is_err() {
                    queue.watcher = Watcher::Absent;
                }
            }
            (Watcher::Sleeps(until), Some(look)) if until <= look => {}
            _ => workers.watch.notify_one(),
        }
        Ok(())
    }

    /// When the watcher has to look at a job that waits: at its deadline, and before that where a further
    /// thread would do it, for which it waits `since` then.
    fn next_look(&self, queue: &Queue, since: Option<Instant>, deadline: Option<Instant>) -> Option<Instant> {
        let more = queue.threads < queue.most_threads(self.most);
        let impatient = since.filter(|_| more).map(|since| since + PATIENCE);
        [impatient, deadline].into_iter().flatten().min()
    }

    /// When the watcher has to look next.
    fn look(&self, queue: &Queue) -> Option<Instant> {
        let since = queue.first(self.most).map(|job| job.since);
        let deadline = queue.all().filter_map(|job| job.deadline).min();
        self.next_look(queue, since, deadline)
    }

    /// The next job, or none when there is no more to do for this thread. `did` says that it has done one,
    /// and whether that was urgent.
    fn next(&self, did: Option<bool>) -> Option<Job> {
        let mut queue = self.lock();
        if let Some(urgent) = did {
            queue.did(urgent);
        }
        loop {
            if let Some(job) = queue.take(self.most) {
                return Some(job);
            }
            if queue.ended {
                queue.threads -= 1;
                return None;
            }
            queue.idle += 1;
            let (again, waited) = self.work.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = again;
            queue.idle -= 1;
            if waited.timed_out() && queue.ready(self.most) == 0 {
                queue.threads -= 1;
                return None;
            }
        }
    }
}

/// Starts one more thread.
fn start(shared: &Arc<Shared>, queue: &mut Queue) -> std::io::Result<()> {
    let weak = Arc::downgrade(shared);
    spawn(&shared.confined, "coracle-worker", move || work(&weak))?;
    queue.threads += 1;
    Ok(())
}

fn work(shared: &Weak<Shared>) {
    let mut did = None;
    loop {
        // While a thread waits it must not keep the pool alive.
        let Some(workers) = shared.upgrade().map(|shared| Arc::clone(&shared.workers)) else { return };
        let Some(job) = workers.next(did) else { return };
        did = Some(job.urgent);
        let Some(shared) = shared.upgrade() else { return };
        job.run(&shared);
    }
}

/// Adds threads while work waits for long, and ends work that has waited until its deadline.
fn watch(shared: &Weak<Shared>) {
    let Some(workers) = shared.upgrade().map(|shared| Arc::clone(&shared.workers)) else { return };
    let mut queue = workers.lock();
    loop {
        if queue.ended {
            queue.watcher = Watcher::Absent;
            return;
        }
        let now = Instant::now();
        let late = queue.take_late(now);
        let most = workers.most;
        let impatient = queue.first(most).is_some_and(|job| now >= job.since + PATIENCE);
        let more = impatient && queue.ready(most) > queue.idle && queue.threads < queue.most_threads(most);
        if more || !late.is_empty() {
            drop(queue);
            let Some(shared) = shared.upgrade() else { return };
            late.into_iter().for_each(|job| job.run(&shared));
            queue = workers.lock();
            if more {
                // Where there is no thread to be had, work waits for those that there are.
                let _ = start(&shared, &mut queue);
            }
        }
        let wait = match workers.look(&queue) {
            None => {
                queue.watcher = Watcher::Waits;
                IDLE
            }
            Some(look) => {
                // One more thread for each moment of patience.
                let now = Instant::now();
                let look = if look <= now { now + PATIENCE } else { look };
                queue.watcher = Watcher::Sleeps(look);
                look.saturating_duration_since(now)
            }
        };
        let (again, waited) = workers.watch.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
        queue = again;
        if waited.timed_out() && queue.watcher == Watcher::Waits && queue.is_empty() {
            queue.watcher = Watcher::Absent;
            return;
        }
    }
}
