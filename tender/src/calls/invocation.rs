//! One-shot execution: what `coracle_hypercall::invocation` says.

use super::console::{Vectors, gather, gather_all};
use super::{Abort, Context, Outside, Reply, State};
use crate::guest::{Run, runs};
use crate::memory::Memory;
use crate::paging::{Access, EntryMemory};
use crate::text::escape_lines;
use coracle_hypercall::call::{MAX_BYTES, MAX_TEXT};
use coracle_hypercall::console::Stream;
use coracle_hypercall::error::CallError;
use coracle_hypercall::exit;
use coracle_hypercall::invocation::{HostRequest, Invocation, MAX_ARGUMENT, Outcome, UNKNOWN_LENGTH};
use coracle_hypercall::memory::{GuestAddress, GuestSlice};
use std::mem::offset_of;
use zerocopy::{FromZeros, IntoBytes};

/// The most input that a guest is given at once, and the most output that it hands over, but for the last, in
/// bytes: it comes back for more.
const MOST_AT_ONCE: u64 = 1 << 20;

/// What the tender does when the guest says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtReady {
    /// It stops, for a snapshot.
    Stop,
    /// It goes on.
    GoOn,
    /// It was ready before.
    Refuse,
}

/// Where a guest waits for its input: the invocation and its buffer, guest-physical. So they are found once
/// and for all, whatever rights the guest gives their pages afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    /// What the tender sets of the invocation.
    set: Vec<Run>,
    buffer: Vec<Run>,
    /// The length of the buffer.
    room: u64,
}

impl Awaited {
    /// Finds them under the PML4 at `root`. `read` copies guest-physical bytes.
    ///
    /// # Errors
    /// [`CallError::TooLong`], [`CallError::BadAddress`] unless the guest may write both.
    pub(crate) fn find<M: EntryMemory>(
        memory: &M,
        root: u64,
        invocation: u64,
        read: impl Fn(u64, &mut [u8]) -> Result<(), CallError>,
    ) -> Result<Awaited, CallError> {
        let found = |slice| {
            let mut found = Vec::new();
            runs(memory, root, slice, Access::Write, |run| {
                found.push(run);
                Ok(())
            })?;
            Ok(found)
        };
        let mut this = Invocation::new_zeroed();
        let mut rest = this.as_mut_bytes();
        for run in found(GuestSlice::new(invocation, rest.len() as u64))? {
            let part = rest.split_off_mut(..run.length as usize).ok_or(CallError::BadAddress)?;
            read(run.physical, part)?;
        }
        let at = offset_of!(Invocation, length) as u64;
        let set = found(GuestSlice::new(invocation + at, size_of::<Invocation>() as u64 - at))?;
        Ok(Awaited { set, buffer: found(this.buffer)?, room: this.buffer.length })
    }
}

/// Writes bytes to the runs, one after the other.
fn write(memory: &Memory, runs: &[Run], bytes: &[u8]) -> Result<(), CallError> {
    let mut rest = bytes;
    for run in runs {
        let (part, after) = rest.split_at(rest.len().min(run.length as usize));
        if part.is_empty() {
            break;
        }
        memory.write(run.physical, part).map_err(|_| CallError::BadAddress)?;
        rest = after;
    }
    Ok(())
}

impl State {
    pub(super) fn ready(&mut self, invocation: u64, context: &mut Context<'_>) -> Reply {
        if self.at_ready == AtReady::Refuse {
            return Reply::Result(Err(CallError::Denied));
        }
        let memory = context.guest.memory();
        let read =
            |physical, bytes: &mut [u8]| memory.read(physical, bytes).map_err(|_| CallError::BadAddress);
        let begun = Awaited::find(&memory, context.root, invocation, read)
            .and_then(|awaited| self.begin(&awaited, memory, &mut context.outside));
        match begun {
            Err(error) => Reply::Result(Err(error)),
            Ok(()) if self.at_ready == AtReady::Stop => Reply::Ready(invocation),
            Ok(()) => {
                self.at_ready = AtReady::Refuse;
                Reply::Result(Ok(0))
            }
        }
    }

    /// Fills in the invocation, with as much of the input as its buffer holds.
    pub(crate) fn begin(
        &mut self,
        awaited: &Awaited,
        memory: &Memory,
        outside: &mut Outside<'_>,
    ) -> Result<(), CallError> {
        let deadline = self.events.deadline;
        let mut this = Invocation::new_zeroed();
        (this.length, this.total) = match outside {
            Outside::Streams(_) => (0, UNKNOWN_LENGTH),
            Outside::Caller(caller) => {
                // What is there at once. The guest asks for the rest, and learns of errors then.
                let total = caller.total().unwrap_or(UNKNOWN_LENGTH);
                let held = if total == UNKNOWN_LENGTH { &[] } else { caller.input(deadline).unwrap_or(&[]) };
                let count = awaited.room.min(MOST_AT_ONCE).min(held.len() as u64);
                let part = held.get(..count as usize).unwrap_or_default();
                write(memory, &awaited.buffer, part)?;
                caller.consume(count as usize);
                (count, total)
            }
        };
        let fresh = self.random.draw().map_err(|_| CallError::Io)?;
        let (identity, seed) = fresh.split_at(this.identity.len());
        this.identity.copy_from_slice(identity);
        this.seed.copy_from_slice(seed);
        // All that the guest has set itself stays as it is.
        let at = offset_of!(Invocation, length);
        write(memory, &awaited.set, this.as_bytes().get(at..).unwrap_or_default())
    }

    pub(super) fn input(&mut self, buffer: u64, length: u64, context: &mut Context<'_>) -> Reply {
        let deadline = self.events.deadline;
        let Outside::Caller(caller) = &mut context.outside else {
            return self.console_read(buffer, length, context);
        };
        if length == 0 {
            return Reply::Result(Ok(0));
        }
        let held = match caller.input(deadline) {
            Ok(held) => held,
            Err(abort) => return Reply::Abort(abort),
        };
        let count = length.min(MOST_AT_ONCE).min(held.len() as u64);
        let part = held.get(..count as usize).unwrap_or_default();
        match context.guest.write_while(GuestAddress(buffer), part, || !self.events.must_stop()) {
            Ok(true) => {
                caller.consume(count as usize);
                Reply::Result(Ok(count))
            }
            Ok(false) => Reply::Stop,
            Err(error) => Reply::Result(Err(error)),
        }
    }

    pub(super) fn output(&mut self, slices: u64, count: u64, context: &mut Context<'_>) -> Reply {
        match self.put_out(slices, count, context) {
            // A run whose caller is gone may still do what is to be done without one.
            Reply::Abort(Abort::Gone) => Reply::Result(Err(CallError::Closed)),
            reply => reply,
        }
    }

    /// Writes to a stream for the caller.
    pub(super) fn put_out(&mut self, slices: u64, count: u64, context: &mut Context<'_>) -> Reply {
        let most = match context.outside {
            Outside::Streams(_) => MAX_BYTES,
            Outside::Caller(_) => MOST_AT_ONCE,
        };
        let vectors = match gather(slices, count, most, context) {
            Ok(vectors) => vectors,
            Err(error) => return Reply::Result(Err(error)),
        };
        match context.outside {
            Outside::Streams(_) => self.transfer(Stream::Output.into(), &vectors, context),
            Outside::Caller(_) => self.hand_over(&vectors, context),
        }
    }

    /// Appends to what the caller has of the output.
    fn hand_over(&self, vectors: &Vectors<'_>, context: &mut Context<'_>) -> Reply {
        let Outside::Caller(caller) = &mut context.outside else { return Reply::Result(Err(CallError::Io)) };
        let length = vectors.length();
        if length > MOST_AT_ONCE && self.events.has_turn() {
            return Reply::Later;
        }
        let go_on = || !self.events.must_stop();
        match caller.room(length as usize).map(|output| vectors.append_while(length, output, go_on)) {
            Ok(Ok(true)) => match caller.appended(self.events.deadline) {
                Ok(()) => Reply::Result(Ok(length)),
                Err(abort) => Reply::Abort(abort),
            },
            Ok(Ok(false)) => Reply::Stop,
            Ok(Err(error)) => Reply::Result(Err(error)),
            Err(abort) => Reply::Abort(abort),
        }
    }

    pub(super) fn respond(
        &mut self,
        outcome: u64,
        slices: u64,
        count: u64,
        context: &mut Context<'_>,
    ) -> Reply {
        let Some(outcome) = Outcome::from_number(outcome) else {
            return Reply::Result(Err(CallError::BadArgument));
        };
        match (outcome, &mut context.outside) {
            (Outcome::Done, Outside::Caller(_)) => match gather_all(slices, count, context) {
                Ok(vectors) => match self.hand_over(&vectors, context) {
                    Reply::Result(Ok(_)) => Reply::Responded,
                    reply => reply,
                },
                Err(error) => Reply::Result(Err(error)),
            },
            (Outcome::Failed, _) => match read_all(slices, count, context) {
                Ok(reason) => Reply::Failed(escape_lines(&String::from_utf8_lossy(&reason))),
                Err(error) => Reply::Result(Err(error)),
            },
            (Outcome::Done, Outside::Streams(_)) => self.respond_to_streams(slices, count, context),
        }
    }

    /// The last output of an image that runs as an ordinary program.
    fn respond_to_streams(&mut self, slices: u64, count: u64, context: &mut Context<'_>) -> Reply {
        let vectors = match gather_all(slices, count, context) {
            Ok(vectors) => vectors,
            Err(error) => return Reply::Result(Err(error)),
        };
        let mut left = vectors;
        while left.length() > 0 {
            match self.transfer(Stream::Output.into(), &left, context) {
                Reply::Result(Ok(done)) => left = left.after(done),
                Reply::Result(Err(CallError::Interrupted)) => {}
                Reply::Result(Err(CallError::Closed)) => {
                    return Reply::Exit(exit::CLOSED_OUTPUT);
                }
                reply => return reply,
            }
        }
        Reply::Responded
    }

    pub(super) fn host_function(&mut self, request: u64, context: &mut Context<'_>) -> Reply {
        self.call_host(request, context).unwrap_or_else(|error| Reply::Result(Err(error)))
    }

    fn call_host(&mut self, request: u64, context: &mut Context<'_>) -> Result<Reply, CallError> {
        let mut this: HostRequest = context.guest.read_struct(request)?;
        // Where nobody offers any function, none of what is handed over is copied.
        if matches!(context.outside, Outside::Streams(_)) {
            return Err(CallError::NoSuchFunction);
        }
        if this.name.length > MAX_TEXT || this.argument.length > MAX_ARGUMENT {
            return Err(CallError::TooLong);
        }
        let name = context.guest.read_text(this.name, MAX_TEXT)?;
        let argument = context.guest.read_bytes(this.argument)?;
        // The function may have effects: nothing is to fail after it.
        let at = offset_of!(HostRequest, length);
        let length = GuestSlice::new(request.saturating_add(at as u64), 8);
        context.guest.runs(length, Access::Write, |_| Ok(()))?;
        context.guest.runs(this.buffer, Access::Write, |_| Ok(()))?;
        let Outside::Caller(caller) = &mut context.outside else {
            return Err(CallError::NoSuchFunction);
        };
        let result = caller.function(&name, &argument, self.events.deadline);
        let (failed, reply) = match result.ok_or(CallError::NoSuchFunction)? {
            Ok(reply) => (0, reply),
            Err(reason) => (1, reason.into_bytes()),
        };
        let part = reply.get(..(this.buffer.length.min(reply.len() as u64)) as usize).unwrap_or_default();
        let go_on = || !self.events.must_stop();
        if !go_on() || !context.guest.write_while(this.buffer.address, part, go_on)? {
            return Ok(Reply::Stop);
        }
        this.length = reply.len() as u64;
        let bytes = this.as_bytes().get(at..).unwrap_or_default();
        context.guest.write(length.address, bytes)?;
        self.reply = reply;
        Ok(Reply::Result(Ok(failed)))
    }

    pub(super) fn host_reply(&self, offset: u64, buffer: u64, length: u64, context: &Context<'_>) -> Reply {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.reply.get(offset..));
        let rest = rest.unwrap_or_default();
        let count = length.min(MOST_AT_ONCE).min(rest.len() as u64);
        let part = rest.get(..count as usize).unwrap_or_default();
        match context.guest.write_while(GuestAddress(buffer), part, || !self.events.must_stop()) {
            Ok(true) => Reply::Result(Ok(count)),
            Ok(false) => Reply::Stop,
            Err(error) => Reply::Result(Err(error)),
        }
    }
}

/// All bytes of a list of slices.
fn read_all(slices: u64, count: u64, context: &Context<'_>) -> Result<Vec<u8>, CallError> {
    let vectors = gather_all(slices, count, context)?;
    if vectors.length() > MAX_TEXT {
        return Err(CallError::TooLong);
    }
    let mut bytes = Vec::with_capacity(vectors.length() as usize);
    vectors.append_to(&mut bytes)?;
    Ok(bytes)
}

impl State {
    /// Console output and input of a program that has a caller.
    pub(super) fn console_of_caller(
        &mut self,
        stream: Stream,
        slices: u64,
        count: u64,
        context: &mut Context<'_>,
    ) -> Reply {
        match stream {
            Stream::Output => self.put_out(slices, count, context),
            Stream::Error => {
                let vectors = match gather(slices, count, MAX_BYTES, context) {
                    Ok(vectors) => vectors,
                    Err(error) => return Reply::Result(Err(error)),
                };
                if let Outside::Caller(caller) = &mut context.outside {
                    let mut bytes = Vec::new();
                    if let Err(error) = vectors.append_first(caller.diagnostics_room() as u64, &mut bytes) {
                        return Reply::Result(Err(error));
                    }
                    caller.diagnostics(&bytes);
                }
                Reply::Result(Ok(vectors.length()))
            }
        }
    }
}
