//! Calls that begin on the thread of a caller that must not be held up, for a moment.
//!
//! Most calls are short: what they cost where another thread makes them is mostly the way there and back. So
//! such a call begins at once, on the thread that asks, as long as an instance is ready. A guest that is still
//! running when its turn is over, or that is about to wait, is paused; a thread of the pool goes on with it.
//! After that, calls leave the thread alone for some time, so that long calls one after the other hold nobody
//! up for the sum of their turns.

use super::error::CallError;
use super::exchange::{Exchange, Progress, Sink};
use super::future::Call;
use super::limits::Limits;
use super::{Output, Pool, Shared};
use crate::calls::{LogEntry, Requests};
use crate::instance::{End, Instance};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// For how long no call begins on its caller's thread after one was paused there.
const CAUTION: Duration = Duration::from_millis(20);

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
    paused: Option<Instance>,
}

impl Pool {
    /// Begins a call on this thread, which it holds up for a millisecond at most. No runtime is needed.
    pub fn begin<I: AsRef<[u8]> + Send + 'static>(&self, input: I, limits: Limits) -> Begun<I> {
        let (start, limits) = (Instant::now(), limits.or(self.shared.limits));
        let work = Work { input, output: Vec::new(), progress: Progress::default(), paused: None };
        let mut going = Going { pool: self.clone(), start, limits, work };
        let shared = &self.shared;
        if shared.lengths.are_long(start) || shared.are_waiting() {
            return Begun::Going(going);
        }
        let Some(instance) = shared.idle.take() else { return Begun::Going(going) };
        let result = match shared.limited(instance, &limits) {
            Ok(instance) => shared.first_turn(instance, start, &limits, &mut going.work),
            Err(error) => Some(Err(error)),
        };
        let Some(result) = result else {
            shared.lengths.was_long();
            return Begun::Going(going);
        };
        shared.counters.called(&result, start.elapsed());
        let output = std::mem::take(&mut going.work.output);
        Begun::Ended(result.map(|diagnostics| Output { bytes: output, diagnostics }))
    }
}

impl<I: AsRef<[u8]> + Send + 'static> Going<I> {
    /// Goes on with the call on a thread of the pool.
    pub fn finish(mut self) -> Call<Output> {
        let urgent = self.work.paused.is_some();
        let pool = self.pool.clone();
        pool.submit(self.start, self.limits, urgent, move |shared, start, limits, requests| {
            let diagnostics = shared.go_on(start, limits, requests, &mut self.work, None)?;
            Ok(Output { bytes: std::mem::take(&mut self.work.output), diagnostics })
        })
    }

    /// The same, with output that goes away as it comes, beginning with what was put out so far. The answer
    /// is what the guest wrote to standard error.
    pub fn stream(mut self, mut sink: impl Sink + 'static) -> Call<Vec<u8>> {
        let urgent = self.work.paused.is_some();
        let pool = self.pool.clone();
        pool.submit(self.start, self.limits, urgent, move |shared, start, limits, requests| {
            shared.go_on(start, limits, requests, &mut self.work, Some(&mut sink))
        })
    }
}

impl<I: AsRef<[u8]> + Send + 'static> Drop for Going<I> {
    fn drop(&mut self) {
        if let Some(instance) = self.work.paused.take() {
            self.pool.shared.discard(instance);
        }
    }
}

impl Shared {
    /// Runs the guest for its first turn. Nothing when it has not ended.
    fn first_turn<I: AsRef<[u8]>>(
        &self,
        mut instance: Instance,
        start: Instant,
        limits: &Limits,
        work: &mut Work<I>,
    ) -> Option<Result<Vec<u8>, CallError>> {
        let mut exchange =
            Exchange::new(work.input.as_ref(), &mut work.output, limits.output, &self.functions);
        let log = &mut |entry: &LogEntry<'_>| self.log(entry);
        match instance.begin_call(&mut exchange, log, limits.deadline(start), start) {
            End::Paused => {
                work.progress = exchange.progress();
                work.paused = Some(instance);
                None
            }
            end => Some(self.ended(instance, end, limits, exchange)),
        }
    }

    /// Goes on with a call, or begins it where that has not happened.
    fn go_on<I: AsRef<[u8]>>(
        &self,
        start: Instant,
        limits: &Limits,
        requests: &Arc<Requests>,
        work: &mut Work<I>,
        mut sink: Option<&mut dyn Sink>,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = limits.deadline(start);
        let (mut instance, begun) = match work.paused.take() {
            Some(instance) => (instance, true),
            None => (self.limited(self.take(start, deadline)?, limits)?, false),
        };
        let mut sent = 0;
        if let Some(sink) = &mut sink
            && !work.output.is_empty()
        {
            sent = work.output.len() as u64;
            if let Err(abort) = sink.take(&mut work.output, deadline) {
                let error = self.bad_end(&instance, &abort.into(), limits, 0, Vec::new());
                self.discard(instance);
                return Err(error);
            }
            work.output.clear();
        }
        let progress = std::mem::take(&mut work.progress);
        let exchange = Exchange::new(work.input.as_ref(), &mut work.output, limits.output, &self.functions);
        let mut exchange = exchange.going_on(progress, sent);
        if let Some(sink) = sink {
            exchange = exchange.into_sink(sink);
        }
        let log = &mut |entry: &LogEntry<'_>| self.log(entry);
        let end = if begun {
            instance.finish_call(&mut exchange, log, deadline, Some(requests))
        } else {
            instance.call(&mut exchange, log, deadline, Some(requests))
        };
        self.ended(instance, end, limits, exchange)
    }

    /// Whether calls wait for an instance: then it is their turn first.
    fn are_waiting(&self) -> bool {
        *self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner) > 0
    }
}
