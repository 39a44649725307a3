//! What the attribute macros for handlers build on: from `ready` to `respond`.
//!
//! In the good case a run costs one exit: `ready` returns with the input in the buffer, the handler
//! gets that very memory, and `respond` takes the output from where it lies.

#[cfg(feature = "json")]
pub mod json;

use crate::call::{self, Bytes};
use crate::{instance, io, start};
use alloc::string::ToString;
use alloc::vec::Vec;
use coracle_hypercall::call::{MAX_BYTES, MAX_TEXT};
use coracle_hypercall::error::CallError;
use coracle_hypercall::exit;
use coracle_hypercall::invocation::{Invocation, Outcome, UNKNOWN_LENGTH};
use coracle_hypercall::memory::GuestSlice;
use core::cell::UnsafeCell;
use core::fmt::Display;

/// How much input comes with the call that says that the program is ready.
const CAPACITY: usize = 64 << 10;
/// The least room for input whose length is not known.
const PIECE: usize = 256 << 10;

/// Where the tender puts the beginning of the input.
#[repr(align(64))]
struct Room(UnsafeCell<[u8; CAPACITY]>);

// SAFETY: only `ready` uses it, once.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; CAPACITY]));

/// The input as the tender gave it so far.
#[derive(Debug)]
pub(crate) struct Input {
    /// What is there already.
    pub(crate) held: &'static mut [u8],
    /// How many bytes are still to be asked for, if that is known.
    pub(crate) left: Option<u64>,
}

/// Says that the program is ready. The program waits here for its input.
#[inline(always)]
pub(crate) fn ready() -> Input {
    let room = ROOM.0.get().cast::<u8>();
    let buffer = GuestSlice::new(room.expose_provenance() as u64, CAPACITY as u64);
    // SAFETY: the room is used here alone, and the tender lets no program be ready twice.
    let invocation = match unsafe { instance::ready_with(buffer) } {
        Ok(invocation) => invocation,
        Err(error) => panic!("cannot say that the program is ready: {error}"),
    };
    let Invocation { length, total, .. } = invocation;
    // SAFETY: this function and `input` are part of their callers' frames, which end in `respond` and
    // never return.
    unsafe { start::set_canary(&instance::seed()) };
    // SAFETY: as above; the room holds as many bytes.
    let held = unsafe { core::slice::from_raw_parts_mut(room, CAPACITY.min(length as usize)) };
    Input { held, left: (total != UNKNOWN_LENGTH).then(|| total.saturating_sub(length)) }
}

/// Says that the program is ready, and gives the whole input of this run.
#[must_use]
#[inline(always)]
pub fn input() -> &'static mut [u8] {
    let Input { held, left } = ready();
    if left == Some(0) {
        return held;
    }
    match collect(held, left) {
        Ok(bytes) => bytes.leak(),
        Err(error) => fail(&format_args!("cannot read the input: {error}")),
    }
}

/// The whole input, of which the beginning is held.
pub(crate) fn collect(held: &[u8], left: Option<u64>) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, held.len().saturating_add(left.map_or(PIECE, |left| left as usize)));
    bytes.extend_from_slice(held);
    let end = left.map(|left| held.len().saturating_add(left as usize));
    while end != Some(bytes.len()) {
        if bytes.len() == bytes.capacity() {
            let more = bytes.len().max(PIECE);
            reserve(&mut bytes, more);
        }
        if append(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.try_reserve_exact(more).is_err() {
        let length = bytes.len().saturating_add(more);
        fail(&format_args!(
            "the input does not fit into memory: {length} bytes are more than this machine has left"
        ));
    }
}

/// Appends what input there is, up to the room that the vector has, and answers how many bytes it is.
pub(crate) fn append(bytes: &mut Vec<u8>) -> Result<usize, CallError> {
    loop {
        match call::append_input(bytes) {
            Err(CallError::Interrupted) => {}
            result => return result,
        }
    }
}

/// Fills the buffer with what input there is and answers how many bytes it is.
#[cfg(feature = "http")]
pub(crate) fn read(buffer: &mut [u8]) -> Result<usize, CallError> {
    let limit = buffer.len().min(MAX_BYTES as usize);
    loop {
        match call::input(&mut buffer[..limit]) {
            Err(CallError::Interrupted) => {}
            result => return result,
        }
    }
}

/// Ends the run with this output.
pub fn respond(output: impl Into<Vec<u8>>) -> ! {
    finish(&[], &output.into())
}

/// Ends the run with this output, or with the reason why there is none.
pub fn respond_result(result: Result<impl Into<Vec<u8>>, impl Display>) -> ! {
    match result {
        Ok(output) => respond(output),
        Err(reason) => fail(&reason),
    }
}

/// Ends the run with this output, which is taken from where it lies.
pub fn respond_borrowed<T: AsRef<[u8]> + ?Sized>(output: &T) -> ! {
    finish(&[], output.as_ref())
}

/// Ends the run without an answer.
pub(crate) fn fail(reason: &dyn Display) -> ! {
    let reason = reason.to_string();
    let reason = &reason.as_bytes()[..reason.len().min(MAX_TEXT as usize)];
    io::stdout::flush_before_waiting();
    refused(call::respond(Outcome::Failed, &[reason.into()]))
}

/// Hands over the two as the last part of the output, and ends the run.
pub(crate) fn finish(head: &[u8], body: &[u8]) -> ! {
    io::stdout::flush_before_waiting();
    if head.len().saturating_add(body.len()) <= MAX_BYTES as usize {
        refused(call::respond(Outcome::Done, &[head.into(), body.into()]));
    }
    let (sent, rest) = body.split_at(body.len().saturating_sub(MAX_BYTES as usize));
    send(head, sent);
    refused(call::respond(Outcome::Done, &[rest.into()]))
}

/// Hands over the two as a part of the output. The program ends quietly when nobody wants it any more.
pub(crate) fn send(mut head: &[u8], mut body: &[u8]) {
    const MOST: usize = MAX_BYTES as usize;
    while !(head.is_empty() && body.is_empty()) {
        let now = &head[..head.len().min(MOST)];
        let then = &body[..body.len().min(MOST - now.len())];
        match call::output(&[Bytes::from(now), Bytes::from(then)]) {
            Ok(taken) => {
                let of_head = taken.min(now.len());
                head = &head[of_head..];
                body = body.get(taken - of_head..).unwrap_or_default();
            }
            Err(CallError::Interrupted) => {}
            Err(CallError::Closed) => call::exit(exit::CLOSED_OUTPUT),
            Err(error) => panic!("cannot hand over the output: {error}"),
        }
    }
}

#[cold]
fn refused(error: CallError) -> ! {
    panic!("cannot respond: {error}")
}
