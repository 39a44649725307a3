//! One call, from the instance that it gets to the answer.

use super::error::{CallError, HostFailure, Overrun};
use super::exchange::Exchange;
use super::limits::Limits;
use super::shared::{Shared, Taken};
use crate::calls::{Abort, LogEntry, Requests};
use crate::instance::{End, Instance};
use crate::machine::Dead;
use std::sync::Arc;
use std::time::Instant;

/// A call that is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) start: Instant,
    pub(super) limits: Limits,
    /// By which it is cancelled.
    pub(super) requests: Option<&'a Arc<Requests>>,
}

impl Task<'_> {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.limits.deadline(self.start)
    }
}

/// What came of a call, and the instance in which it was made: the pool has that back when this is dropped,
/// which takes a moment.
#[derive(Debug)]
pub(super) struct Made<'s, T> {
    pub(super) result: Result<T, CallError>,
    pub(super) instance: Option<Taken<'s>>,
}

impl<'s, T> Made<'s, T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Made<'s, U> {
        Made { result: self.result.map(change), instance: self.instance }
    }

    pub(super) fn not(error: impl Into<CallError>) -> Made<'s, T> {
        Made { result: Err(error.into()), instance: None }
    }
}

impl Shared {
    /// Makes one call. The answer is what the guest wrote to standard error.
    pub(super) fn call(&self, task: &Task<'_>, mut exchange: Exchange<'_>) -> Made<'_, Vec<u8>> {
        if let Err(error) = self.check_process() {
            return Made::not(error);
        }
        let mut taken = match self.take(task.start, task.deadline(), task.requests) {
            Ok(taken) => taken,
            Err(error) => return Made::not(error),
        };
        let Some(instance) = taken.instance() else { return Made::not(HostFailure::Unexpected) };
        if let Err(error) = instance.limit_heap(task.limits.memory) {
            return Made::not(HostFailure::Limit(error));
        }
        let log = &mut |entry: &LogEntry<'_>| self.log(entry);
        let end = instance.call(&mut exchange, log, task.deadline(), task.requests);
        ended(taken, end, &task.limits, exchange)
    }

    /// Hands a record of a guest's log to whoever wants it.
    pub(super) fn log(&self, entry: &LogEntry<'_>) {
        if let Some(log) = &self.log {
            log(entry);
        }
    }
}

/// What comes of a call whose run has ended.
pub(super) fn ended<'s>(
    mut taken: Taken<'s>,
    end: End,
    limits: &Limits,
    exchange: Exchange<'_>,
) -> Made<'s, Vec<u8>> {
    let Some(instance) = taken.instance() else { return Made::not(HostFailure::Unexpected) };
    let usable = matches!(end, End::Responded | End::Exited(_) | End::Failed(_));
    let result = answer(instance, end, limits, exchange);
    taken.usable = usable;
    Made { result, instance: Some(taken) }
}

/// What an end means to the caller.
fn answer(
    instance: &Instance,
    end: End,
    limits: &Limits,
    exchange: Exchange<'_>,
) -> Result<Vec<u8>, CallError> {
    let most_output = exchange.most_output();
    let gone = exchange.is_gone();
    let diagnostics = exchange.diagnostics;
    match end {
        End::Responded => Ok(diagnostics),
        // Whatever it makes of that: nobody is there to whom it could be told.
        End::Exited(_) | End::Failed(_) if gone => Err(CallError::Cancelled),
        End::Exited(0) => Ok(diagnostics),
        End::Failed(reason) => Err(CallError::Failed { reason, diagnostics }),
        End::Exited(status) => {
            Err(CallError::Exited { status, output: std::mem::take(exchange.output), diagnostics })
        }
        End::TimedOut => Err(CallError::Overran(Overrun::Time(limits.time.unwrap_or_default()))),
        End::Aborted(Abort::TooMuchOutput) => Err(CallError::Overran(Overrun::Output(most_output))),
        End::Aborted(_) | End::Asked(_) => Err(CallError::Cancelled),
        End::Dead(Dead::HostMemory)
            if let Some(most) = limits.memory
                && instance.is_heap_limited() =>
        {
            Err(CallError::Overran(Overrun::Memory(most)))
        }
        End::Dead(dead) => Err(HostFailure::Dead(dead).into()),
        end => match instance.report(&end, None) {
            Some(report) => {
                let (summary, report) = (report.summary(), report.to_string());
                Err(CallError::Crashed { summary, report, diagnostics })
            }
            None => Err(HostFailure::Unexpected.into()),
        },
    }
}
