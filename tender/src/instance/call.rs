//! One run of a program for a caller.

use super::run::kicker;
use super::{End, Instance, Origin};
use crate::calls::{AtReady, Caller, LogEntry, Outside, Requests};
use crate::machine::{Dead, Kicker, Machine, Reachable};
use coracle_hypercall::memory::PAGE;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a run may take at most that began on the thread of somebody who has other things to do. It is at
/// least half of that.
pub(crate) const TURN: Duration = Duration::from_millis(1);

impl Instance {
    /// Runs a program that was just booted until it is ready.
    pub(crate) fn initialise(&mut self, caller: &mut dyn Caller, limit: Duration) -> End {
        self.state.at_ready = AtReady::Stop;
        self.state.events.deadline = Instant::now().checked_add(limit);
        self.with_caller(caller, &mut |_| {}, None)
    }

    /// Runs an instance that is as its snapshot is, once, for a caller. Afterwards it is to be
    /// [reset](Self::reset), or thrown away: until then this answers how it ended.
    ///
    /// `requests` lets another thread end the run. The thread has the [kick
    /// signal](crate::machine::kick_signal) unblocked until this returns, and may get it once more later.
    pub fn call(
        &mut self,
        caller: &mut dyn Caller,
        log: &mut dyn FnMut(&LogEntry<'_>),
        deadline: Option<Instant>,
        requests: Option<&Arc<Requests>>,
    ) -> End {
        if let Some(end) = &self.end {
            return end.clone();
        }
        self.state.events.deadline = deadline;
        let end = match self.begin(&mut Outside::Caller(caller)) {
            Ok(()) => self.with_caller(caller, log, requests),
            Err(dead) => End::Dead(dead),
        };
        self.end = Some(end.clone());
        end
    }

    /// Begins a run as [`call`](Self::call) does, and ends with [`End::Paused`] where it takes longer than a
    /// [turn](TURN) or is about to wait.
    pub(crate) fn begin_call(
        &mut self,
        caller: &mut dyn Caller,
        log: &mut dyn FnMut(&LogEntry<'_>),
        deadline: Option<Instant>,
        now: Instant,
    ) -> End {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let end = self.first_turn(caller, log, deadline, now);
        if !matches!(end, End::Paused) {
            self.end = Some(end.clone());
        }
        end
    }

    fn first_turn(
        &mut self,
        caller: &mut dyn Caller,
        log: &mut dyn FnMut(&LogEntry<'_>),
        deadline: Option<Instant>,
        now: Instant,
    ) -> End {
        self.state.events.deadline = deadline;
        if let Err(dead) = self.begin(&mut Outside::Caller(caller)) {
            return End::Dead(dead);
        }
        // It would have to end where it begins.
        if self.machine.stays_on_its_thread() {
            return End::Paused;
        }
        let kicker = match kicker() {
            Ok(kicker) => kicker,
            Err(dead) => return End::Dead(dead),
        };
        let turn = now + TURN / 2;
        let _reachable = Reachable::new();
        let _aim = self.machine.aim();
        // A deadline before that is seen when the kick comes, which is early enough.
        kicker.kick_between(turn, now + TURN);
        self.state.events.turn = Some(turn);
        let end = self.until_end(&mut Outside::Caller(caller), log, &kicker);
        self.state.events.turn = None;
        end
    }

    /// Goes on with a run that was paused, to its end or its deadline, on whatever thread.
    pub(crate) fn finish_call(
        &mut self,
        caller: &mut dyn Caller,
        log: &mut dyn FnMut(&LogEntry<'_>),
        requests: Option<&Arc<Requests>>,
    ) -> End {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let end = self.with_caller(caller, log, requests);
        self.end = Some(end.clone());
        end
    }

    /// Lets the guest use no more than so many bytes of its heap, what its snapshot has of it included:
    /// where it touches more, its run ends with [`Dead::HostMemory`]. `None`: all there is.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn limit_heap(&mut self, bytes: Option<u64>) -> io::Result<()> {
        let Origin::Snapshot(snapshot) = &self.origin else { return Ok(()) };
        let heap = self.physical.heap;
        let wanted = bytes.unwrap_or(heap.length).min(heap.length).next_multiple_of(PAGE);
        let end = (heap.start + wanted).max(snapshot.base.end()).min(heap.end());
        if end != self.machine.memory().end() {
            self.machine.set_memory_end(end)?;
        }
        Ok(())
    }

    /// Whether it may use less of its heap than there is.
    pub(crate) fn is_heap_limited(&self) -> bool {
        self.machine.memory().end() < self.physical.heap.end()
    }

    /// Hands the guest its invocation, where it waits for one.
    pub(super) fn begin(&mut self, outside: &mut Outside<'_>) -> Result<(), Dead> {
        let Origin::Snapshot(snapshot) = &self.origin else { return Ok(()) };
        let Some(awaited) = &snapshot.invocation else { return Ok(()) };
        let begun = self.state.begin(awaited, self.machine.memory(), outside);
        if self.machine.memory().was_asked_beyond_end() {
            return Err(Dead::HostMemory);
        }
        begun.map_err(Dead::Invocation)
    }

    /// Runs the guest to its end, or to the deadline that is set.
    fn with_caller(
        &mut self,
        caller: &mut dyn Caller,
        log: &mut dyn FnMut(&LogEntry<'_>),
        requests: Option<&Arc<Requests>>,
    ) -> End {
        let kicker = match kicker() {
            Ok(kicker) => kicker,
            Err(dead) => return End::Dead(dead),
        };
        let _reachable = Reachable::new();
        let _aim = self.machine.aim();
        if let Some(deadline) = self.state.events.deadline {
            kicker.kick_by(deadline);
        }
        if let Some(requests) = requests {
            self.state.events.requests = Arc::clone(requests);
            requests.open(&kicker);
        }
        let end = self.until_end(&mut Outside::Caller(caller), log, &kicker);
        if requests.is_some() && self.state.events.requests.close() {
            // The timer goes on kicking, and is not set to what this thread takes it to be.
            kicker.disarm();
            Kicker::was_kicked();
        }
        end
    }
}
