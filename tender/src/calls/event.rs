//! Waiting, and requests from outside that a guest may wait for.

use super::console::sleep;
use super::{Context, Outside, Reply, State};
use crate::machine::Kicker;
use coracle_hypercall::error::CallError;
use coracle_hypercall::event::{EventSources, NO_DEADLINE};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What may be asked of a guest from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To stop what it does (SIGINT).
    Interrupt,
    /// To end (SIGTERM).
    Terminate,
}

impl Request {
    fn source(self) -> EventSources {
        match self {
            Request::Interrupt => EventSources::INTERRUPT,
            Request::Terminate => EventSources::TERMINATE,
        }
    }
}

/// Requests that have been made to one run of a guest, shared with whoever makes them, signal handlers
/// among them.
#[derive(Debug, Default)]
pub struct Requests {
    made: AtomicU64,
    closed: AtomicBool,
    cancelled: AtomicBool,
    /// Whether the kicker was armed.
    kicked: AtomicBool,
    /// How many are kicking at this moment.
    kicking: AtomicU32,
    /// What kicks the thread that runs the guest, once one does.
    kicker: OnceLock<Arc<Kicker>>,
}

impl Requests {
    /// Makes a request. May be called in a signal handler. Answers false, and has no effect, where
    /// the guest has ended already.
    pub fn make(&self, request: Request) -> bool {
        self.made.fetch_or(request.source().bits(), Ordering::SeqCst);
        self.kick()
    }

    /// Ends the guest, whatever it has subscribed to. Answers as [`make`](Self::make) does.
    pub fn cancel(&self) -> bool {
        self.cancelled.store(true, Ordering::SeqCst);
        self.kick()
    }

    /// Whether the guest is to end in any case.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn kick(&self) -> bool {
        // Where nobody runs the guest yet, whoever will looks for requests first.
        let Some(kicker) = self.kicker.get() else { return !self.is_closed() };
        // The thread may run another guest as soon as this one is closed, and then the kicker is that
        // one's: `close` waits until nobody is between this look and the next line but one.
        self.kicking.fetch_add(1, Ordering::SeqCst);
        let open = !self.is_closed();
        if open {
            self.kicked.store(true, Ordering::SeqCst);
            kicker.arm(Duration::ZERO);
        }
        self.kicking.fetch_sub(1, Ordering::SeqCst);
        open
    }

    /// Whether nothing was ever made of it, and nobody else can do so.
    pub(crate) fn is_fresh(this: &Arc<Requests>) -> bool {
        let unused = this.kicker.get().is_none() && !this.is_closed() && !this.is_cancelled();
        Arc::strong_count(this) == 1 && unused && this.made.load(Ordering::SeqCst) == 0
    }

    /// From now on requests kick.
    pub(crate) fn open(&self, kicker: &Arc<Kicker>) {
        let _ = self.kicker.set(Arc::clone(kicker));
    }

    /// The guest has ended: nobody will look at requests any more, and none kicks. Answers whether one
    /// has.
    pub fn close(&self) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        while self.kicking.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        self.kicked.load(Ordering::SeqCst)
    }

    /// Whether the guest has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Why a guest must stop though it has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its time is up.
    TimeOut,
    /// It is asked to, and has not subscribed to be told so.
    Asked(Request),
    /// Nobody wants its answer any more.
    Cancelled,
}

/// What one guest has subscribed to, what is pending for it, and its deadline.
#[derive(Debug)]
pub struct Events {
    pub(crate) requests: Arc<Requests>,
    pub(crate) subscribed: EventSources,
    pub(crate) deadline: Option<Instant>,
    /// From when on the run is to be left to another thread: then it is not stopped but paused.
    pub(crate) turn: Option<Instant>,
}

const REQUESTS: EventSources = EventSources::INTERRUPT.union(EventSources::TERMINATE);

impl Events {
    /// No subscription, nothing pending.
    #[must_use]
    pub fn new() -> Events {
        Events { requests: Arc::default(), subscribed: EventSources::empty(), deadline: None, turn: None }
    }

    /// Where requests to this guest are made.
    #[must_use]
    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    fn pending(&self) -> EventSources {
        EventSources::from_bits_truncate(self.requests.made.load(Ordering::SeqCst))
    }

    /// Whether, and why, the guest must stop now.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Stop::TimeOut);
        }
        if self.requests.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        let unwanted = self.pending() - self.subscribed;
        [Request::Terminate, Request::Interrupt]
            .into_iter()
            .find(|request| unwanted.contains(request.source()))
            .map(Stop::Asked)
    }

    /// Whether the guest is to be paused where it would keep its thread for long.
    pub(super) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    pub(super) fn must_stop(&self) -> bool {
        self.stop().is_some()
    }

    /// Whether an event that the guest has subscribed to waits to be seen.
    pub(super) fn has_news(&self) -> bool {
        self.pending().intersects(self.subscribed)
    }

    /// Takes what is pending of `sources`.
    fn take(&self, sources: EventSources) -> EventSources {
        let wanted = sources & REQUESTS;
        let before = self.requests.made.fetch_and(!wanted.bits(), Ordering::SeqCst);
        EventSources::from_bits_truncate(before) & wanted
    }
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}

impl State {
    pub(super) fn wait(&mut self, sources: u64, deadline: u64, context: &mut Context<'_>) -> Reply {
        let Some(sources) = EventSources::from_bits(sources) else {
            return Reply::Result(Err(CallError::BadArgument));
        };
        self.events.subscribed |= sources & REQUESTS;
        loop {
            if self.events.must_stop() {
                return Reply::Stop;
            }
            let left = match deadline {
                NO_DEADLINE => None,
                _ => Some(Duration::from_nanos(deadline.saturating_sub(self.clock.monotonic_ns()))),
            };
            // The kick at the end of a run's time may come just before the wait begins.
            let time = self.events.deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let mut ready = self.events.take(sources);
            // What is pending now was not asked for: it ends a wait that would block.
            let interrupted = self.events.has_news();
            let poll = if ready.is_empty() && !interrupted {
                [left, time].into_iter().flatten().min()
            } else {
                Some(Duration::ZERO)
            };
            let wants_input = sources.contains(EventSources::CONSOLE_INPUT);
            let has_input = match &context.outside {
                Outside::Streams(console) => console.wait_for_input(wants_input, poll),
                // Its input never has to be waited for as an event: it comes, or it has ended.
                Outside::Caller(_) if wants_input => true,
                Outside::Caller(_) => sleep(poll),
            };
            if has_input {
                ready |= EventSources::CONSOLE_INPUT;
            }
            if !ready.is_empty() || left.is_some_and(|left| left.is_zero()) {
                return Reply::Result(Ok(ready.bits()));
            }
            if interrupted {
                return Reply::Result(Err(CallError::Interrupted));
            }
        }
    }
}
