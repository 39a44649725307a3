//! The hypercalls, one file for each subject. What each does is said in `coracle_hypercall::call`.

mod caller;
mod clock;
mod console;
mod entropy;
mod event;
mod failure;
mod invocation;
mod random;
mod rights;
mod text;

pub use caller::{Abort, Caller};
pub use clock::Clock;
pub use console::Console;
pub use event::{Events, Request, Requests, Stop};
pub use failure::Failures;
pub use invocation::AtReady;
pub(crate) use invocation::Awaited;
pub use random::Random;
pub use rights::Edited;
pub use text::{LogEntry, PanicText, TENDER_TARGET};

use crate::guest::Guest;
use crate::layout::{Physical, Places};
use crate::paging::{Edit, Pool};
use coracle_hypercall::call::Call;
use coracle_hypercall::error::CallError;
use coracle_hypercall::note::Permissions;

/// What a call leads to.
#[derive(Debug)]
pub enum Reply {
    /// The guest goes on with this result.
    Result(Result<u64, CallError>),
    /// These page-table entries are changed; then the guest goes on with this result.
    Edit(Vec<Edit>, u64),
    /// The guest ends.
    Exit(u8),
    /// The guest ends with a panic.
    Panic(PanicText),
    /// The guest is asked to end and has not subscribed to be told so, or its time is up.
    Stop,
    /// The call would take long, and the guest's turn on this thread is over before: it has had no effect,
    /// and is to be carried out again elsewhere.
    Later,
    /// The guest is initialised. Its invocation is to be at this address.
    Ready(u64),
    /// The run is done.
    Responded,
    /// The run has failed, for this reason, which is safe to print.
    Failed(String),
    /// The run cannot go on because of its caller.
    Abort(Abort),
}

/// What belongs to one instance and lives from call to call.
#[derive(Debug)]
pub struct State {
    /// Its clock.
    pub clock: Clock,
    /// Events that it has subscribed to or not seen yet.
    pub events: Events,
    /// Tables for pages that are split.
    pub pool: Pool,
    /// What its image may do beyond the ordinary.
    pub permissions: Permissions,
    /// What the host could not do for it.
    pub failures: Failures,
    /// What happens when it is ready.
    pub at_ready: AtReady,
    /// Random bytes for its runs.
    pub random: Random,
    /// What the last function of the host has replied.
    pub reply: Vec<u8>,
    /// Page-table entries that were changed for it, where that is to be taken back.
    pub edited: Edited,
}

/// What input and output of a guest are connected to.
pub enum Outside<'a> {
    /// The host's streams: it runs as an ordinary program.
    Streams(&'a Console<'a>),
    /// Someone who has called it.
    Caller(&'a mut dyn Caller),
}

impl Outside<'_> {
    /// The same, for one call.
    pub(crate) fn again(&mut self) -> Outside<'_> {
        match self {
            Outside::Streams(console) => Outside::Streams(console),
            Outside::Caller(caller) => Outside::Caller(&mut **caller),
        }
    }
}

/// What a call works on.
pub struct Context<'a> {
    /// The guest's memory.
    pub guest: Guest<'a>,
    /// Its places.
    pub places: &'a Places,
    /// Its guest-physical memory.
    pub physical: &'a Physical,
    /// The PML4.
    pub root: u64,
    /// What its input and output are connected to.
    pub outside: Outside<'a>,
    /// Where log records go.
    pub log: &'a mut dyn FnMut(&LogEntry<'_>),
}

impl State {
    /// Carries out one call: its number and four arguments.
    pub fn answer(&mut self, [number, a0, a1, a2, _]: [u64; 5], context: &mut Context<'_>) -> Reply {
        let Some(call) = Call::from_number(number) else {
            return Reply::Result(Err(CallError::NoSuchCall));
        };
        let result = match call {
            Call::Nothing => Ok(0),
            Call::Exit => return Reply::Exit(a0 as u8),
            Call::Panic => return Reply::Panic(PanicText::read(&context.guest, a0)),
            Call::ConsoleWrite => return self.console_write(a0, a1, a2, context),
            Call::ConsoleRead => return self.console_read(a0, a1, context),
            Call::Clock => {
                let refreshed = self.clock.refresh(a0, context.guest.memory());
                refreshed.map_err(|cause| self.host_failed("write the clock page", &cause, context))
            }
            Call::Wait => return self.wait(a0, a1, context),
            Call::Entropy => return self.entropy(a0, a1, context),
            Call::Log => return self.log(a0, context),
            Call::Ready => return self.ready(a0, context),
            Call::Input => return self.input(a0, a1, context),
            Call::Output => return self.output(a0, a1, context),
            Call::Respond => return self.respond(a0, a1, a2, context),
            Call::Host => return self.host_function(a0, context),
            Call::HostReply => return self.host_reply(a0, a1, a2, context),
            Call::MemoryRights => return self.memory_rights(a0, a1, a2, context),
        };
        Reply::Result(result)
    }
}
