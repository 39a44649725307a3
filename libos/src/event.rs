//! Waiting for events.

pub use coracle_hypercall::event::EventSources;

use crate::time::Instant;
use crate::{call, io};
use coracle_hypercall::error::CallError;
use coracle_hypercall::event::NO_DEADLINE;

/// Waits until one of the sources is ready and answers all that are; the empty set when the
/// deadline passed first. A deadline that has passed only looks; none waits for ever.
///
/// Waiting once for [`INTERRUPT`](EventSources::INTERRUPT) or
/// [`TERMINATE`](EventSources::TERMINATE) subscribes to it: from then on Ctrl-C or SIGTERM no
/// longer ends the program, and interrupts a read of standard input or a sleep instead.
///
/// # Errors
/// [`BadArgument`](CallError::BadArgument) for a source that the tender does not know,
/// [`Interrupted`](CallError::Interrupted) by an event that the program has subscribed to and that
/// is not among the sources.
pub fn wait(sources: EventSources, deadline: Option<Instant>) -> Result<EventSources, CallError> {
    io::stdout::flush_before_waiting();
    call::wait(sources, deadline.map_or(NO_DEADLINE, Instant::nanoseconds))
}
