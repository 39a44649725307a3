//! One-shot execution: a program that is initialised once and then runs for each input in a machine
//! that no other run has touched. Since version 1.1.
//!
//! The guest makes [`Ready`](crate::call::Call::Ready) when it has initialised itself. There the tender
//! may keep a snapshot of the machine, and it may let the guest return from that call as often as it
//! likes, each time in a machine that is as it was at the call, but for
//!
//! - the answer, the [`Invocation`] and the bytes in its buffer;
//! - the clock page, which has expired, so that the next reading of a clock brings it up to date. The
//!   monotonic clock goes on from where it stood at the call, the wall clock has the time that it is;
//! - the time stamp counter, which may have gone back.
//!
//! What must not be alike between two runs, the guest makes anew from [`seed`](Invocation::seed) and
//! [`identity`](Invocation::identity). Alike remains where memory lies, what was drawn from random
//! sources before, and `AT_RANDOM`.
//!
//! The guest takes its input: what is in the buffer already, then what
//! [`Input`](crate::call::Call::Input) gives. It hands over output by
//! [`Output`](crate::call::Call::Output) and ends by [`Respond`](crate::call::Call::Respond). A program
//! of kind [`Main`](crate::note::Program::Main) reads its console instead, writes to it and exits.
//!
//! A tender that runs the image as an ordinary program gives its standard input as the input and
//! writes the output to its standard output; an outcome of failure goes to standard error.
//!
//! # HTTP
//!
//! For an image of kind [`Http`](crate::note::Program::Http) the input is a request and the output a
//! response in the format of HTTP/1.1 (RFC 9112): start line, field lines, an empty line, content. The
//! content is not encoded for transfer (there is no chunked coding): it ends where input or output
//! ends. The tender speaks with the client, in whatever version of HTTP, and
//! leaves out the fields that concern the connection alone (RFC 9110, section 7.6.1). The request's
//! target is in origin form. A response whose head is malformed counts as a failure of the guest.
//!
//! # Functions of the host
//!
//! A host may offer functions by name, see [`HostRequest`]. Argument and reply are bytes that host and
//! guest agree on; the libos and the tender's library use JSON (RFC 8259).

use crate::memory::GuestSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The [`total`](Invocation::total) of an input whose length is not known.
pub const UNKNOWN_LENGTH: u64 = u64::MAX;

/// The longest argument of a function of the host, in bytes. A longer one is refused with
/// [`TooLong`](crate::error::CallError::TooLong).
pub const MAX_ARGUMENT: u64 = 1 << 20;

/// What a run works on.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Invocation {
    /// Set by the guest: where the tender puts the beginning of the input. It may be empty.
    pub buffer: GuestSlice,
    /// How many bytes of input are in the buffer.
    pub length: u64,
    /// The length of the whole input in bytes, or [`UNKNOWN_LENGTH`]. What is not in the buffer is to
    /// be asked for.
    pub total: u64,
    /// A number that no other run has.
    pub identity: [u8; 16],
    /// Random bytes fit for seeding a generator, different in every run.
    pub seed: [u8; 32],
}

crate::assert_layout!(
    Invocation,
    size 80,
    buffer @ 0,
    length @ 16,
    total @ 24,
    identity @ 32,
    seed @ 48,
);

/// How a run ended.
#[repr(u64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The output is the answer.
    Done = 0,
    /// The run failed: what `respond` hands over is the reason, a text in UTF-8.
    Failed = 1,
}

impl Outcome {
    /// The outcome with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Outcome> {
        match number {
            0 => Some(Outcome::Done),
            1 => Some(Outcome::Failed),
            _ => None,
        }
    }
}

/// A call of one of the host's functions.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct HostRequest {
    /// The function's name, UTF-8.
    pub name: GuestSlice,
    /// The argument's bytes, no more than [`MAX_ARGUMENT`].
    pub argument: GuestSlice,
    /// Where the tender puts the beginning of the reply: of the result, or of the text that says why
    /// the function failed.
    pub buffer: GuestSlice,
    /// Set by the tender: the length of the whole reply in bytes. What is not in the buffer is had by
    /// [`HostReply`](crate::call::Call::HostReply).
    pub length: u64,
}

crate::assert_layout!(
    HostRequest,
    size 56,
    name @ 0,
    argument @ 16,
    buffer @ 32,
    length @ 48,
);
