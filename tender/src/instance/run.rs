//! The run loop.

use super::Instance;
use super::call::TURN;
use crate::calls::{Abort, Console, Context, LogEntry, Outside, PanicText, Reply, Request, Requests, Stop};
use crate::guest::Guest;
use crate::machine::{Dead, Exit, Kicker, Machine, MachineError, Reachable};
use crate::registers::Registers;
use crate::report::Fault;
use coracle_hypercall::call::Call;
use coracle_hypercall::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a guest ended.
#[derive(Debug, Clone)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By a panic.
    Panicked(PanicText, Registers),
    /// By a fault of the CPU.
    Faulted(Fault),
    /// By using a port that is not there.
    Port {
        /// The port's number.
        port: u16,
        /// The bytes that were moved.
        width: u8,
        /// Whether they were written.
        write: bool,
        /// The registers.
        registers: Registers,
    },
    /// Its time was up.
    TimedOut,
    /// It was asked to end.
    Asked(Request),
    /// The vCPU cannot go on.
    Dead(Dead),
    /// It is initialised and waits for its invocation, which is to be at this address.
    Ready(u64),
    /// Its run is done: it has responded.
    Responded,
    /// Its run has failed for this reason, which is safe to print.
    Failed(String),
    /// Its run cannot go on because of its caller.
    Aborted(Abort),
    /// It has not ended: its turn on this thread is over.
    Paused,
}

impl End {
    /// The exit status for it; `None` for a crash, whose [report](Instance::report) has it: what
    /// kind of crash it is, is found out there.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        match self {
            End::Exited(status) => Some(*status),
            End::TimedOut => Some(exit::TIMEOUT),
            End::Asked(Request::Interrupt) => Some(exit::INTERRUPT),
            End::Asked(Request::Terminate) => Some(exit::TERMINATE),
            End::Dead(_) | End::Ready(_) | End::Aborted(_) | End::Paused => Some(exit::TENDER),
            End::Responded => Some(0),
            End::Failed(_) => Some(1),
            End::Panicked(..) | End::Faulted(_) | End::Port { .. } => None,
        }
    }
}

impl From<Abort> for End {
    fn from(abort: Abort) -> End {
        match abort {
            Abort::Late => End::TimedOut,
            abort => End::Aborted(abort),
        }
    }
}

/// Makes requests to a guest from other threads or from signal handlers.
#[derive(Debug)]
pub struct Stopper {
    requests: Arc<Requests>,
}

impl Stopper {
    /// Makes a request. May be called in a signal handler. Answers false, and has no effect, where
    /// the guest has ended already.
    pub fn request(&self, request: Request) -> bool {
        self.requests.make(request)
    }
}

/// What kicks this thread, without which it runs no guest.
pub(super) fn kicker() -> Result<Arc<Kicker>, Dead> {
    Kicker::of_this_thread().map_err(|error| Dead::NoTimer(error.raw_os_error().unwrap_or_default()))
}

/// Whether carrying out this call may take as long as somebody else likes.
fn may_wait([number, ..]: [u64; 5]) -> bool {
    matches!(Call::from_number(number), Some(Call::Wait | Call::Host))
}

/// Whether carrying out this call runs code of the program that the tender is a part of.
fn is_others(number: u64, outside: &Outside<'_>) -> bool {
    match Call::from_number(number) {
        Some(Call::Log) => true,
        Some(
            Call::ConsoleWrite | Call::ConsoleRead | Call::Input | Call::Output | Call::Respond | Call::Host,
        ) => matches!(outside, Outside::Caller(_)),
        _ => false,
    }
}

impl Instance {
    /// Where requests to this guest are made.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { requests: self.state.events.requests() }
    }

    /// Makes what this thread needs to run the guest, which else [`run`](Self::run) does: for a process that
    /// may not do so any more then.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn get_ready(&mut self) -> Result<(), MachineError> {
        self.machine.get_ready()
    }

    /// Runs the guest to its end, for no longer than `limit`. What has ended is not run again: then
    /// this answers how it ended.
    ///
    /// Log records go to `log`, while the guest waits: what may block there gives up when
    /// [`LogEntry::must_stop`] says so. The thread has the [kick signal](crate::machine::kick_signal)
    /// unblocked until this returns.
    pub fn run(
        &mut self,
        console: &Console<'_>,
        log: &mut dyn FnMut(&LogEntry<'_>),
        limit: Option<Duration>,
    ) -> End {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let kicker = match kicker() {
            Ok(kicker) => kicker,
            Err(dead) => return End::Dead(dead),
        };
        let start = Instant::now();
        self.state.events.deadline = limit.and_then(|limit| start.checked_add(limit));
        let _reachable = Reachable::new();
        let _aim = self.machine.aim();
        if let Some(limit) = limit {
            kicker.arm(limit);
        }
        // A request made before the kicker was armed for the limit has had its own kick overwritten:
        // the loop begins with a look.
        self.state.events.requests.open(&kicker);
        let mut outside = Outside::Streams(console);
        let end = match self.begin(&mut outside) {
            Ok(()) => self.until_end(&mut outside, log, &kicker),
            Err(dead) => End::Dead(dead),
        };
        self.state.events.requests.close();
        kicker.disarm();
        Kicker::was_kicked();
        if let Some(statistics) = &mut self.statistics {
            statistics.run_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        }
        self.end = Some(end.clone());
        end
    }

    /// The loop: runs the guest, handles what it comes back for, until there is an end. Kicks are aimed
    /// at it by its caller, before a timer is set: one that comes before would be lost.
    pub(super) fn until_end(
        &mut self,
        outside: &mut Outside<'_>,
        log: &mut dyn FnMut(&LogEntry<'_>),
        kicker: &Kicker,
    ) -> End {
        let mut ended = self.stop();
        if ended.is_none() && std::mem::take(&mut self.waits_in_call) {
            ended = self.hypercall(outside, log);
        }
        loop {
            if let Some(end) = ended {
                return end;
            }
            let exit = self.machine.run();
            let came_back = self.statistics.is_some().then(Instant::now);
            let reason = self.reason(exit);
            ended = self.handle(exit, outside, log, kicker);
            if let (Some(came_back), Some(statistics)) = (came_back, &mut self.statistics) {
                statistics.add(reason, came_back.elapsed());
            }
        }
    }

    fn reason(&self, exit: Exit) -> &'static str {
        match exit {
            Exit::Hypercall => {
                let [number, ..] = self.machine.call();
                Call::from_number(number).map_or("unknown call", Call::label)
            }
            Exit::Fault { .. } => "fault",
            Exit::Port { .. } => "port",
            Exit::Kicked => "kick",
            Exit::Dead(_) => "dead",
        }
    }

    /// Handles one exit; an end when the guest does not go on.
    fn handle(
        &mut self,
        exit: Exit,
        outside: &mut Outside<'_>,
        log: &mut dyn FnMut(&LogEntry<'_>),
        kicker: &Kicker,
    ) -> Option<End> {
        match exit {
            Exit::Hypercall => self.hypercall(outside, log),
            Exit::Fault { vector } => Some(self.machine.fault(vector).map_or_else(End::Dead, End::Faulted)),
            Exit::Port { port, width, write } => {
                Some(End::Port { port, width, write, registers: self.machine.registers() })
            }
            Exit::Kicked => self.kicked(kicker, matches!(outside, Outside::Streams(_))),
            Exit::Dead(dead) => Some(End::Dead(dead)),
        }
    }

    fn hypercall(&mut self, outside: &mut Outside<'_>, log: &mut dyn FnMut(&LogEntry<'_>)) -> Option<End> {
        let call = self.machine.call();
        let [number, ..] = call;
        if number == Call::Clock as u64 {
            self.state.clock.learn_rate(|| self.machine.tsc_khz());
        }
        if self.state.events.turn.is_some() && may_wait(call) {
            self.waits_in_call = true;
            return Some(End::Paused);
        }
        if is_others(number, outside) {
            self.machine.lend_thread();
        }
        let mut context = Context {
            guest: Guest::new(self.machine.memory(), self.tables.root),
            places: &self.places,
            physical: &self.physical,
            root: self.tables.root,
            outside: outside.again(),
            log,
        };
        let reply = self.state.answer(call, &mut context);
        if self.machine.memory().was_asked_beyond_end() {
            return Some(End::Dead(Dead::HostMemory));
        }
        match reply {
            Reply::Result(result) => {
                self.machine.set_result(match result {
                    Ok(value) => i64::try_from(value).unwrap_or(i64::MAX),
                    Err(error) => error.to_result(),
                });
                None
            }
            Reply::Edit(edits, changed) => {
                self.machine.set_result(i64::try_from(changed).unwrap_or(i64::MAX));
                let changed = self.machine.change_tables(&edits);
                changed.err().map(|error| End::Dead(Dead::Tables(error.source.raw_os_error().unwrap_or(0))))
            }
            Reply::Exit(status) => Some(End::Exited(status)),
            Reply::Panic(text) => Some(End::Panicked(text, self.machine.registers())),
            Reply::Stop => self.stop(),
            Reply::Later => {
                self.waits_in_call = true;
                Some(End::Paused)
            }
            Reply::Ready(invocation) => Some(End::Ready(invocation)),
            Reply::Responded => Some(End::Responded),
            Reply::Failed(reason) => Some(End::Failed(reason)),
            Reply::Abort(abort) => Some(abort.into()),
        }
    }

    /// The end that a deadline or a request makes.
    fn stop(&self) -> Option<End> {
        self.state.events.stop().map(|stop| match stop {
            Stop::TimeOut => End::TimedOut,
            Stop::Asked(request) => End::Asked(request),
            Stop::Cancelled => End::Aborted(Abort::Gone),
        })
    }

    /// `may_block` says whether calls of this guest block in the kernel, so that one kick may not be
    /// enough.
    fn kicked(&self, kicker: &Kicker, may_block: bool) -> Option<End> {
        Kicker::was_kicked();
        if let Some(turn) = self.state.events.turn {
            if let Some(end) = self.stop() {
                return Some(end);
            }
            if Instant::now() >= turn {
                return Some(End::Paused);
            }
            kicker.kick_between(turn, turn + TURN / 2);
            return None;
        }
        // First the timer, then the look: a request made in between arms the timer again.
        match self.state.events.deadline {
            Some(deadline) if may_block => {
                kicker.arm(deadline.saturating_duration_since(Instant::now()));
            }
            Some(deadline) => kicker.kick_by(deadline),
            None => kicker.disarm(),
        }
        // Without a reason to stop, the request is one that the guest has subscribed to: it is kept.
        self.stop()
    }
}
