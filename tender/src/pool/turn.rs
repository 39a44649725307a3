//! Calls that begin on the thread of a caller that must not be held up, for a moment.
//!
//! Most calls are short: what they cost where another thread makes them is mostly the way there and back. So
//! such a call begins at once, on the thread that asks, as long as an instance is ready. A guest that is still
//! running when its turn is over, or that is about to wait, is paused; a thread of the pool goes on with it.
//! After that, calls leave the thread alone for some time, so that long calls one after the other hold nobody
//! up for the sum of their turns.

use super::error::{CallError, HostFailure};
use super::exchange::{Exchange, Progress, Sink};
use super::future::Call;
use super::limits::Limits;
use super::running::{Made, Task, ended};
use super::shared::{Shared, Taken};
use super::{Output, Pool};
use crate::calls::{Caller, LogEntry};
use crate::instance::{End, Instance};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For how long no call begins on its caller's thread after one was paused there.
const CAUTION: Duration = Duration::from_millis(20);

/// A call that ends so soon after it was paused was paused for no fault of its own.
const SHORT: Duration = Duration::from_micros(250);

/// Whether calls take long.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    /// Until when it is presumed that they do, in nanoseconds since some moment.
    long_until: AtomicU64,
}

/// Nanoseconds from a moment before all others.
fn nanoseconds(moment: Instant) -> u64 {
    static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);
    moment.saturating_duration_since(*ZERO).as_nanos() as u64
}

impl Lengths {
    fn was_long(&self) {
        self.long_until.store(nanoseconds(Instant::now() + CAUTION), Ordering::Relaxed);
    }

    /// The one that was paused was short after all: something else had the CPU.
    fn was_short(&self) {
        self.long_until.store(0, Ordering::Relaxed);
    }

    fn are_long(&self, now: Instant) -> bool {
        self.long_until.load(Ordering::Relaxed) > nanoseconds(now)
    }
}

/// What became of a call within its first moment.
#[derive(Debug)]
#[must_use = "a call that is dropped is cancelled"]
pub enum Begun<I: AsRef<[u8]> + Send + 'static> {
    /// It has ended.
    Ended(Result<Output, CallError>),
    /// It goes on, or has not begun.
    Going(Going<I>),
}

/// A call that has not ended. It goes on when it is told how; when this is dropped, it is cancelled.
#[derive(Debug)]
#[must_use = "a call that is dropped is cancelled"]
pub struct Going<I: AsRef<[u8]> + Send + 'static> {
    pool: Pool,
    start: Instant,
    limits: Limits,
    work: Work<I>,
}

/// What moves from thread to thread with a call.
#[derive(Debug)]
struct Work<I> {
    input: I,
    output: Vec<u8>,
    progress: Progress,
    /// In which it was begun.
    paused: Option<Paused>,
}

/// An instance that is in the middle of a call. The pool lives as long as this, as it does while a call is
/// made; it has the instance back when this is dropped.
#[derive(Debug)]
struct Paused {
    pool: Pool,
    instance: Option<Box<Instance>>,
}

impl Drop for Paused {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        let shared = &self.pool.shared;
        // What a child of a fork has of it is only given back to the host.
        if shared.check_process().is_ok() {
            drop(shared.taken(*instance));
        }
    }
}

impl Pool {
    /// Begins a call on this thread, which it holds up for a millisecond at most. No runtime is needed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
    /// use coracle_tender::pool::{Begun, Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let snapshot = snapshot("handler-echo");
    /// let pool = Pool::builder(snapshot).build()?;
    /// let output = match pool.begin("Hello", Limits::new()) {
    ///     Begun::Ended(result) => result?,
    ///     Begun::Going(going) => futures_executor::block_on(going.finish())?,
    /// };
    /// assert_eq!(output.bytes, b"Hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin<I: AsRef<[u8]> + Send + 'static>(&self, input: I, limits: Limits) -> Begun<I> {
        let (start, limits) = (Instant::now(), limits.or(self.shared.limits));
        let work = Work { input, output: Vec::new(), progress: Progress::default(), paused: None };
        let mut going = Going { pool: self.clone(), start, limits, work };
        let shared = &self.shared;
        if let Err(error) = shared.check_process() {
            return Begun::Ended(Err(error.into()));
        }
        // Those who wait already get what is given back.
        if shared.lengths.are_long(start) || shared.are_waiting() {
            return Begun::Going(going);
        }
        let Some(taken) = shared.take_ready() else { return Begun::Going(going) };
        let task = Task { start, limits, requests: None };
        match shared.first_turn(taken, &task, &mut going.work) {
            Turn::Over(taken) => {
                shared.lengths.was_long();
                going.work.paused = Some(Paused { pool: self.clone(), instance: taken.keep().map(Box::new) });
                Begun::Going(going)
            }
            Turn::Ended(Made { result, instance: _clean }) => {
                shared.counters.called(&result, start.elapsed());
                let bytes = std::mem::take(&mut going.work.output);
                Begun::Ended(result.map(|diagnostics| Output { bytes, diagnostics }))
            }
        }
    }
}

impl<I: AsRef<[u8]> + Send + 'static> Going<I> {
    /// Goes on with the call on a thread of the pool.
    pub fn finish(self) -> Call<Output> {
        let Going { pool, start, limits, mut work } = self;
        let urgent = work.paused.is_some();
        pool.submit(start, limits, urgent, move |shared, task| {
            let made = shared.go_on(&task, &mut work, None);
            made.map(|diagnostics| Output { bytes: work.output, diagnostics })
        })
    }

    /// The same, with output that goes away as it comes, beginning with what was put out so far. The answer
    /// is what the guest wrote to standard error.
    pub fn stream(self, mut sink: impl Sink + 'static) -> Call<Vec<u8>> {
        let Going { pool, start, limits, mut work } = self;
        let urgent = work.paused.is_some();
        pool.submit(start, limits, urgent, move |shared, task| {
            shared.go_on(&task, &mut work, Some(&mut sink))
        })
    }
}

/// What became of a call in its first turn.
enum Turn<'s> {
    Ended(Made<'s, Vec<u8>>),
    /// It has not ended.
    Over(Taken<'s>),
}

impl Shared {
    /// Runs the guest for its first turn.
    fn first_turn<'s, I: AsRef<[u8]>>(
        &'s self,
        mut taken: Taken<'s>,
        task: &Task<'_>,
        work: &mut Work<I>,
    ) -> Turn<'s> {
        let Some(instance) = taken.instance() else {
            return Turn::Ended(Made::not(HostFailure::Unexpected));
        };
        if let Err(error) = instance.limit_heap(task.limits.memory) {
            return Turn::Ended(Made::not(HostFailure::Limit(error)));
        }
        let most = task.limits.output;
        let mut exchange = Exchange::new(work.input.as_ref(), &mut work.output, most, &self.functions);
        let log = &mut |entry: &LogEntry<'_>| self.log(entry);
        match instance.begin_call(&mut exchange, log, task.deadline(), task.start) {
            End::Paused => {
                work.progress = exchange.progress();
                Turn::Over(taken)
            }
            end => Turn::Ended(ended(taken, end, &task.limits, exchange)),
        }
    }

    /// Goes on with a call, or makes it where it has not begun.
    fn go_on<I: AsRef<[u8]>>(
        &self,
        task: &Task<'_>,
        work: &mut Work<I>,
        sink: Option<&mut dyn Sink>,
    ) -> Made<'_, Vec<u8>> {
        let paused = work.paused.take().and_then(|mut paused| paused.instance.take());
        let progress = std::mem::take(&mut work.progress);
        let most = task.limits.output;
        let exchange = Exchange::new(work.input.as_ref(), &mut work.output, most, &self.functions);
        let mut exchange = exchange.going_on(progress);
        if let Some(sink) = sink {
            exchange = exchange.into_sink(sink);
        }
        let Some(instance) = paused else { return self.call(task, exchange) };
        let mut taken = self.taken(*instance);
        if !exchange.output.is_empty()
            && let Err(abort) = exchange.appended(task.deadline())
        {
            return ended(taken, abort.into(), &task.limits, exchange);
        }
        let Some(instance) = taken.instance() else { return Made::not(HostFailure::Unexpected) };
        let log = &mut |entry: &LogEntry<'_>| self.log(entry);
        let resumed = Instant::now();
        let end = instance.finish_call(&mut exchange, log, task.requests);
        if resumed.elapsed() < SHORT {
            self.lengths.was_short();
        }
        ended(taken, end, &task.limits, exchange)
    }
}
