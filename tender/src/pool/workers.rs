//! Threads that make calls for callers which do not block.
//!
//! There are as many as CPUs, and more when work waits although they are busy: a guest that runs long holds
//! up nobody for more than a moment. Calls that are to go on in an instance that they have come first: others
//! may wait for that. So that all threads never wait for instances of calls that wait for a thread, only as
//! many run others as there may be instances, and there may be as many again.

use super::Shared;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How long work waits before it gets a further thread.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long a thread stays that has no work.
const IDLE: Duration = Duration::from_secs(10);

/// A piece of work that came at some time.
type Waiting = (Instant, Job);

/// A piece of work.
pub(super) type Job = Box<dyn FnOnce(&Shared) + Send>;

/// The threads and their work.
#[derive(Default)]
pub(super) struct Workers {
    queue: Mutex<Queue>,
    /// Work has come, or the end.
    work: Condvar,
    /// Work waits for a further thread.
    pressure: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Waiting>,
    /// Jobs that have an instance.
    urgent: VecDeque<Waiting>,
    /// How many threads do a job that has had no instance.
    ordinary: usize,
    threads: usize,
    idle: usize,
    /// Whether a thread watches how long work waits.
    watched: bool,
    ended: bool,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Queue {
    /// The job to do next. Of those that need an instance no more are done at once than `most`.
    fn take(&mut self, most: usize) -> Option<(Job, bool)> {
        if let Some((_, job)) = self.urgent.pop_front() {
            return Some((job, true));
        }
        if self.ordinary >= most {
            return None;
        }
        let (_, job) = self.jobs.pop_front()?;
        self.ordinary += 1;
        Some((job, false))
    }

    /// Since when the job waits that is to be done next.
    fn oldest(&self, most: usize) -> Option<Instant> {
        let ordinary = if self.ordinary < most { self.jobs.front() } else { None };
        let next = self.urgent.front().or(ordinary);
        next.map(|(since, _)| *since)
    }
}

impl Workers {
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
        self.pressure.notify_all();
    }

    /// Has a job done, before others if it is `urgent`.
    pub(super) fn submit(shared: &Arc<Shared>, job: Job, urgent: bool) -> std::io::Result<()> {
        let workers = &shared.workers;
        let mut queue = workers.lock();
        let jobs = if urgent { &mut queue.urgent } else { &mut queue.jobs };
        jobs.push_back((Instant::now(), job));
        if queue.idle > 0 {
            drop(queue);
            workers.work.notify_one();
        } else if queue.threads < shared.cpus.min(shared.most) {
            queue.threads += 1;
            drop(queue);
            workers.start(shared)?;
        } else if !queue.watched && queue.threads < 2 * shared.most {
            queue.watched = true;
            drop(queue);
            let shared = Arc::downgrade(shared);
            spawn("coracle-watcher", move || watch(&shared))?;
        } else {
            drop(queue);
            workers.pressure.notify_one();
        }
        Ok(())
    }

    /// Starts a thread that has been counted already.
    fn start(&self, shared: &Arc<Shared>) -> std::io::Result<()> {
        let weak = Arc::downgrade(shared);
        spawn("coracle-worker", move || work(&weak)).inspect_err(|_| self.lock().threads -= 1)
    }

    /// The next job, and whether it is urgent; none when there is no more to do for this thread. `done` says
    /// that it has just done one that was not.
    fn next(&self, most: usize, done: bool) -> Option<(Job, bool)> {
        let mut queue = self.lock();
        queue.ordinary -= usize::from(done);
        loop {
            if let Some(job) = queue.take(most) {
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
            if waited.timed_out() && queue.oldest(most).is_none() {
                queue.threads -= 1;
                return None;
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run).map(drop)
}

/// The bytes of stack that a thread gets: crash reports take some.
const STACK: usize = 1 << 20;

fn work(shared: &Weak<Shared>) {
    let mut done = false;
    loop {
        // While a thread waits it must not keep the pool alive.
        let known = shared.upgrade().map(|shared| (Arc::clone(&shared.workers), shared.most));
        let Some((workers, most)) = known else { return };
        let Some((job, urgent)) = workers.next(most, done) else { return };
        let Some(shared) = shared.upgrade() else { return };
        job(&shared);
        done = !urgent;
    }
}

/// Adds threads while work waits for long.
fn watch(shared: &Weak<Shared>) {
    loop {
        let known = shared.upgrade().map(|shared| (Arc::clone(&shared.workers), shared.most));
        let Some((workers, most)) = known else { return };
        let mut queue = workers.lock();
        match queue.oldest(most).map(|since| since.elapsed()) {
            None => {
                let (again, waited) =
                    workers.pressure.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
                queue = again;
                if queue.ended || waited.timed_out() && queue.oldest(most).is_none() {
                    queue.watched = false;
                    return;
                }
            }
            Some(waited) if waited < PATIENCE => {
                drop(queue);
                thread::sleep(PATIENCE - waited);
            }
            Some(_) => {
                let more = shared.upgrade().filter(|_| queue.idle == 0 && queue.threads < 2 * most);
                if more.is_some() {
                    queue.threads += 1;
                }
                drop(queue);
                if let Some(shared) = more {
                    // Where there is no thread to be had, work waits for those that there are.
                    let _ = workers.start(&shared);
                }
                thread::sleep(PATIENCE);
            }
        }
    }
}
