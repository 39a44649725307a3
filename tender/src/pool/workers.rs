//! Threads that make calls for callers which do not block.
//!
//! There are as many as CPUs, and more when work waits although they are busy: a guest that runs long holds
//! up nobody for more than a moment. There are never more than instances. One thread more watches what
//! waits, while something does.

use super::shared::Shared;
use super::threads::spawn;
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
    pub(super) work: Box<dyn FnOnce(&Shared) + Send>,
}

impl Job {
    /// Does it. A panic in what the caller has given ends this piece of work and not the thread.
    fn run(self, shared: &Shared) {
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
    threads: usize,
    idle: usize,
    watcher: Watcher,
    ended: bool,
}

impl Queue {
    /// Takes out what has waited until its deadline.
    fn take_late(&mut self, now: Instant) -> Vec<Job> {
        let is_late = |job: &Job| job.deadline.is_some_and(|deadline| deadline <= now);
        if !self.jobs.iter().any(is_late) {
            return Vec::new();
        }
        let (late, rest) = std::mem::take(&mut self.jobs).into_iter().partition(is_late);
        self.jobs = VecDeque::from_iter::<Vec<Job>>(rest);
        late
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
            std::mem::take(&mut queue.jobs)
        };
        drop(jobs);
        self.work.notify_all();
        self.watch.notify_all();
    }

    /// Has a job done.
    pub(super) fn submit(shared: &Arc<Shared>, job: Job) -> std::io::Result<()> {
        let workers = &shared.workers;
        let mut queue = workers.lock();
        let look = workers.next_look(&queue, &job);
        queue.jobs.push_back(job);
        // A thread that was told of work counts as idle until it has taken it.
        if queue.jobs.len() <= queue.idle {
            drop(queue);
            workers.work.notify_one();
            return Ok(());
        }
        if queue.threads < workers.at_once {
            match start(shared, &mut queue) {
                Ok(()) => return Ok(()),
                Err(error) if queue.threads == 0 => {
                    queue.jobs.pop_back();
                    return Err(error);
                }
                // Those that there are will do it.
                Err(_) => {}
            }
        }
        match (queue.watcher, look) {
            (_, None) => {}
            (Watcher::Absent, Some(_)) => {
                let shared = Arc::downgrade(shared);
                queue.watcher = Watcher::Waits;
                if spawn("coracle-watcher", move || watch(&shared)).is_err() {
                    queue.watcher = Watcher::Absent;
                }
            }
            (Watcher::Sleeps(until), Some(look)) if until <= look => {}
            _ => workers.watch.notify_one(),
        }
        Ok(())
    }

    /// When the watcher has to look at a job that waits.
    fn next_look(&self, queue: &Queue, job: &Job) -> Option<Instant> {
        let impatient = (queue.threads < self.most).then(|| job.since + PATIENCE);
        [impatient, job.deadline].into_iter().flatten().min()
    }

    /// The next job, or none when there is no more to do for this thread.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
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
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return None;
            }
        }
    }
}

/// Starts one more thread.
fn start(shared: &Arc<Shared>, queue: &mut Queue) -> std::io::Result<()> {
    let weak = Arc::downgrade(shared);
    spawn("coracle-worker", move || work(&weak))?;
    queue.threads += 1;
    Ok(())
}

fn work(shared: &Weak<Shared>) {
    loop {
        // While a thread waits it must not keep the pool alive.
        let Some(workers) = shared.upgrade().map(|shared| Arc::clone(&shared.workers)) else { return };
        let Some(job) = workers.next() else { return };
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
        let impatient = queue.jobs.front().is_some_and(|job| now >= job.since + PATIENCE);
        let more = impatient && queue.jobs.len() > queue.idle && queue.threads < workers.most;
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
        let wait = match queue.jobs.iter().filter_map(|job| workers.next_look(&queue, job)).min() {
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
        if waited.timed_out() && queue.watcher == Watcher::Waits && queue.jobs.is_empty() {
            queue.watcher = Watcher::Absent;
            return;
        }
    }
}
