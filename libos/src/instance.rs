//! What this run is, where a program that was initialised once runs many times.
//!
//! A program says that it is [`ready`] when it has initialised itself; one with a handler does so by
//! itself. The tender may keep the machine as it is then, and let the program go on from there as often
//! as it likes, each time in a machine that no other run has touched. Two such runs differ in
//!
//! - their [`identity`], their [`seed`]s, and what [`random`](crate::random) gives;
//! - the wall clock, which has the time that it is. The monotonic clock goes on from where it stood;
//! - what the hooks make anew that were registered by [`on_resume`].
//!
//! All else is alike: where memory lies, numbers that were drawn and hash maps that were made before,
//! what was read from standard input.

mod seed;

use crate::sync::Lock;
use crate::{boot, call, io};
use alloc::vec::Vec;
use coracle_hypercall::error::CallError;
use coracle_hypercall::invocation::Invocation;
use coracle_hypercall::memory::GuestSlice;

/// What the tender said when the program was ready.
#[derive(Clone, Copy)]
struct Run {
    identity: [u8; 16],
    seed: [u8; 32],
}

/// All that a run changes here, in one place: each page that it writes to costs it something.
struct State {
    run: Option<Run>,
    /// How many seeds were given out.
    seeds: u64,
    hooks: Vec<fn()>,
}

static STATE: Lock<State> = Lock::new(State { run: None, seeds: 0, hooks: Vec::new() });

/// Says that the program is initialised. What follows may run many times, each time in a machine of
/// its own: see the [module](self). Standard output is written out before, and the hooks of
/// [`on_resume`] run before this returns.
///
/// A program with `#[coracle::main]` calls it once where that is so; it need not. One with a handler
/// never does: the handler is called when it is ready.
///
/// # Panics
/// When it is called a second time.
#[track_caller]
pub fn ready() {
    // SAFETY: nothing is written to an empty buffer.
    if let Err(error) = unsafe { ready_with(GuestSlice::default()) } {
        panic!("cannot say that the program is ready: {error}; has it done so before?");
    }
}

/// Registers a function that runs in every run, when the program is [`ready`] and before it goes on:
/// after clocks, identity and seeds are those of the run, before a handler gets its input. Functions
/// run in the order in which they were registered. One that is registered after the program was ready
/// never runs.
pub fn on_resume(hook: fn()) {
    STATE.lock().hooks.push(hook);
}

/// A number that no other run has. `None` before the program is [`ready`].
#[must_use]
pub fn identity() -> Option<[u8; 16]> {
    STATE.lock().run.map(|run| run.identity)
}

/// Random bytes fit for seeding a generator or for a key, other ones each time and in each run, made
/// without leaving the machine.
///
/// They come, by ChaCha20, from a seed that the tender gave at the start and gives anew when the program
/// is [`ready`]: what was drawn before that is alike in all runs.
#[must_use]
pub fn seed() -> [u8; 32] {
    let mut state = STATE.lock();
    let key = state.run.map_or(boot::info().seed, |run| run.seed);
    state.seeds += 1;
    seed::derive(&key, state.seeds)
}

/// Says that the program is ready, lends the tender a buffer for the input, and makes anew what must not
/// be alike between two runs.
///
/// # Safety
/// The buffer is the caller's to be overwritten.
pub(crate) unsafe fn ready_with(buffer: GuestSlice) -> Result<Invocation, CallError> {
    let mut invocation = Invocation { buffer, length: 0, total: 0, identity: [0; 16], seed: [0; 32] };
    // What is in the buffer would else be written in every run.
    io::stdout::flush_before_waiting();
    // SAFETY: the caller's promise.
    unsafe { call::ready(&mut invocation) }?;
    STATE.lock().run = Some(Run { identity: invocation.identity, seed: invocation.seed });
    let mut next = 0;
    // The list is not borrowed while a hook runs, which may register another.
    while let Some(hook) = { STATE.lock().hooks.get(next).copied() } {
        hook();
        next += 1;
    }
    Ok(invocation)
}
