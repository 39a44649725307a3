//! The calls to the tender, one function for each.
//!
//! The rest of the crate is built on these; a program seldom needs them itself. What each call does
//! is said in the contract, at [`Call`]. A call costs an exit from the virtual machine, which is
//! worth some thousands of instructions: make few, and give each much to do.

use alloc::vec::Vec;
use coracle_hypercall::call::{Call, Entry, MAX_BYTES};
use coracle_hypercall::console::Stream;
use coracle_hypercall::error::CallError;
use coracle_hypercall::event::EventSources;
use coracle_hypercall::invocation::{HostRequest, Invocation, Outcome};
use coracle_hypercall::log::{Level, LogRecord};
use coracle_hypercall::memory::{GuestSlice, Rights};
use coracle_hypercall::panic::PanicReport;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The function on the entry page. Until it is known, a function that refuses every call.
static ENTRY: AtomicPtr<()> = AtomicPtr::new(nobody as *mut ());

extern "C" fn nobody(_number: u64, _a0: u64, _a1: u64, _a2: u64, _a3: u64) -> i64 {
    CallError::NoSuchCall.to_result()
}

/// Directs all calls to the entry page.
///
/// # Safety
/// `entry` is the address of a function that keeps what the contract says of the entry page.
pub(crate) unsafe fn set_entry(entry: *mut ()) {
    ENTRY.store(entry, Ordering::Relaxed);
}

/// Makes any call, even one that does not exist, and gives back the result register.
///
/// # Safety
/// The tender reads and writes memory as the call's description says: buffers that it fills must
/// be the caller's to be overwritten, and rights that it changes must not break live references.
#[inline]
pub unsafe fn raw(number: u64, a0: u64, a1: u64, a2: u64, a3: u64) -> i64 {
    // SAFETY: `ENTRY` holds `nobody` or what `set_entry` was given, both functions of this type.
    let entry: Entry = unsafe { core::mem::transmute(ENTRY.load(Ordering::Relaxed)) };
    entry(number, a0, a1, a2, a3)
}

/// Bytes to be written: a [`GuestSlice`] that cannot outlive them.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Bytes<'a>(GuestSlice, PhantomData<&'a [u8]>);

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(GuestSlice::new(address(bytes.as_ptr()), bytes.len() as u64), PhantomData)
    }
}

impl Bytes<'_> {
    /// How many bytes these are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.length as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.length == 0
    }
}

/// Does nothing: measures what a call costs.
///
/// # Errors
/// None that the contract names.
pub fn nothing() -> Result<(), CallError> {
    // SAFETY: this call touches no memory.
    check(unsafe { raw(Call::Nothing as u64, 0, 0, 0, 0) }).map(drop)
}

/// Ends the program at once. [`process::exit`](crate::process::exit) flushes the output first.
pub fn exit(status: u8) -> ! {
    // SAFETY: this call touches no memory.
    unsafe { raw(Call::Exit as u64, u64::from(status), 0, 0, 0) };
    crate::process::trap()
}

/// Ends the program with the report of a panic.
///
/// The tender's backtrace starts here, so this frame must be one.
#[inline(never)]
pub fn panic(report: &PanicReport) -> ! {
    // SAFETY: the tender only reads the report and the texts, and takes no harm where it cannot.
    unsafe { raw(Call::Panic as u64, address(report), 0, 0, 0) };
    exit(coracle_hypercall::exit::PANIC)
}

/// Writes to the console and answers how many bytes were taken, counted over all buffers.
///
/// # Errors
/// [`Closed`](CallError::Closed) when nobody will ever read it, [`Io`](CallError::Io) when the host
/// cannot write, [`Interrupted`](CallError::Interrupted) by an event, [`TooLong`](CallError::TooLong)
/// for too many buffers.
pub fn console_write(stream: Stream, buffers: &[Bytes<'_>]) -> Result<usize, CallError> {
    // SAFETY: the tender only reads the buffers, which live as long as their `Bytes`.
    check(unsafe {
        raw(Call::ConsoleWrite as u64, stream as u64, address(buffers.as_ptr()), buffers.len() as u64, 0)
    })
}

/// Waits for console input and answers how many bytes of it are in the buffer; 0 at its end.
///
/// # Errors
/// [`Io`](CallError::Io) when the host cannot read, [`Interrupted`](CallError::Interrupted) by an
/// event.
pub fn console_read(buffer: &mut [u8]) -> Result<usize, CallError> {
    // SAFETY: the tender writes to no more than the buffer, which is ours to be overwritten.
    check(unsafe {
        raw(Call::ConsoleRead as u64, address_mut(buffer.as_mut_ptr()), buffer.len() as u64, 0, 0)
    })
}

/// Has the clock page brought up to date. `tsc` is the time stamp counter, read just before.
///
/// # Errors
/// None that the contract names.
pub fn clock(tsc: u64) -> Result<(), CallError> {
    // SAFETY: this call touches no memory but the clock page, which is only ever read as volatile.
    check(unsafe { raw(Call::Clock as u64, tsc, 0, 0, 0) }).map(drop)
}

/// Waits for events until the monotonic clock reads `deadline` nanoseconds.
///
/// # Errors
/// [`BadArgument`](CallError::BadArgument) for sources that the tender does not know,
/// [`Interrupted`](CallError::Interrupted) by an event that is not among them.
pub fn wait(sources: EventSources, deadline: u64) -> Result<EventSources, CallError> {
    // SAFETY: this call touches no memory.
    let ready = check(unsafe { raw(Call::Wait as u64, sources.bits(), deadline, 0, 0) })?;
    Ok(EventSources::from_bits_retain(ready as u64))
}

/// Fills the buffer with random bytes fit for keys.
///
/// # Errors
/// [`TooLong`](CallError::TooLong), [`Io`](CallError::Io) when the host has none.
pub fn entropy(buffer: &mut [u8]) -> Result<(), CallError> {
    // SAFETY: the tender writes to no more than the buffer, which is ours to be overwritten.
    check(unsafe { raw(Call::Entropy as u64, address_mut(buffer.as_mut_ptr()), buffer.len() as u64, 0, 0) })
        .map(drop)
}

/// Hands a log record to the tender.
///
/// # Errors
/// None that the contract names.
pub fn log(level: Level, target: &str, message: &str) -> Result<(), CallError> {
    let record = LogRecord { level: level as u32, reserved: 0, target: text(target), message: text(message) };
    // SAFETY: the tender only reads the record and its texts, which outlive the call.
    check(unsafe { raw(Call::Log as u64, address(&raw const record), 0, 0, 0) }).map(drop)
}

/// Gives pages new rights and answers for how many bytes, from the start of the range: one call may
/// not do for all of a long one.
///
/// # Errors
/// [`BadArgument`](CallError::BadArgument) for a range that is not of whole pages,
/// [`BadAddress`](CallError::BadAddress) for one that is not within the heap or stack,
/// [`Denied`](CallError::Denied) for rights that the image may not have.
///
/// # Safety
/// Nothing that the program still uses may lose the rights it needs.
pub unsafe fn memory_rights(address: u64, length: u64, rights: Rights) -> Result<usize, CallError> {
    // SAFETY: the caller's promise.
    check(unsafe { raw(Call::MemoryRights as u64, address, length, rights.bits(), 0) })
}

/// Says that the program is initialised and has the tender fill in the invocation, and the buffer
/// that it names. [`ready`](crate::ready()) also makes anew what must not be alike between two runs.
///
/// # Errors
/// [`Denied`](CallError::Denied) when it is not the first time, [`BadAddress`](CallError::BadAddress),
/// [`TooLong`](CallError::TooLong).
///
/// # Safety
/// The invocation's buffer is the caller's to be overwritten.
pub unsafe fn ready(invocation: &mut Invocation) -> Result<(), CallError> {
    // SAFETY: the invocation is ours to be overwritten, and so is its buffer by the caller's promise.
    check(unsafe { raw(Call::Ready as u64, address_mut(&raw mut *invocation), 0, 0, 0) }).map(drop)
}

/// Waits for more of the invocation's input and answers how many bytes of it are in the buffer; 0 at
/// its end.
///
/// # Errors
/// [`TooLong`](CallError::TooLong), [`Io`](CallError::Io) when the host cannot read,
/// [`Interrupted`](CallError::Interrupted) by an event.
pub fn input(buffer: &mut [u8]) -> Result<usize, CallError> {
    // SAFETY: the tender writes to no more than the buffer, which is ours to be overwritten.
    check(unsafe { raw(Call::Input as u64, address_mut(buffer.as_mut_ptr()), buffer.len() as u64, 0, 0) })
}

/// The same into what a vector has room for behind its bytes, up to [`MAX_BYTES`].
pub(crate) fn append_input(bytes: &mut Vec<u8>) -> Result<usize, CallError> {
    let room = bytes.spare_capacity_mut();
    let length = (room.len() as u64).min(MAX_BYTES);
    // SAFETY: the tender writes to no more than the room, which needs no initialisation for that.
    let answer = check(unsafe { raw(Call::Input as u64, address_mut(room.as_mut_ptr()), length, 0, 0) })?;
    // SAFETY: the tender has written so many bytes, no more than there is room for.
    unsafe { bytes.set_len(bytes.len() + answer.min(length as usize)) };
    Ok(answer)
}

/// Hands over a part of the output and answers how many bytes were taken, counted over all buffers.
///
/// # Errors
/// [`Closed`](CallError::Closed) when nobody wants it any more, [`Io`](CallError::Io) when the host
/// cannot write, [`Interrupted`](CallError::Interrupted) by an event, [`TooLong`](CallError::TooLong).
pub fn output(buffers: &[Bytes<'_>]) -> Result<usize, CallError> {
    // SAFETY: the tender only reads the buffers, which live as long as their `Bytes`.
    check(unsafe { raw(Call::Output as u64, address(buffers.as_ptr()), buffers.len() as u64, 0, 0) })
}

/// Hands over the last part of the output, or the reason why the run failed, and ends the program.
/// It returns only when it is refused: [`TooLong`](CallError::TooLong) for more than [`MAX_BYTES`].
pub fn respond(outcome: Outcome, buffers: &[Bytes<'_>]) -> CallError {
    let (list, count) = (address(buffers.as_ptr()), buffers.len() as u64);
    // SAFETY: the tender only reads the buffers, which live as long as their `Bytes`.
    check(unsafe { raw(Call::Respond as u64, outcome as u64, list, count, 0) })
        .err()
        .unwrap_or(CallError::Unknown)
}

/// Calls a function of the host. Answers how it ended, and the length in bytes of the whole reply, of
/// which the beginning is in the buffer: a result, or the text that says why the function failed.
///
/// # Errors
/// [`NoSuchFunction`](CallError::NoSuchFunction) when the host does not offer it,
/// [`TooLong`](CallError::TooLong).
pub fn host(name: &str, argument: &[u8], buffer: &mut [u8]) -> Result<(Outcome, usize), CallError> {
    let mut request = HostRequest {
        name: text(name),
        argument: Bytes::from(argument).0,
        buffer: GuestSlice::new(address_mut(buffer.as_mut_ptr()), buffer.len() as u64),
        length: 0,
    };
    // SAFETY: the tender reads name and argument and writes to the request and to no more than the
    // buffer, both of which are ours to be overwritten.
    let answer = check(unsafe { raw(Call::Host as u64, address_mut(&raw mut request), 0, 0, 0) })?;
    let outcome = if answer == 0 { Outcome::Done } else { Outcome::Failed };
    Ok((outcome, request.length as usize))
}

/// Copies what follows the first `offset` bytes of the reply of the last [`host`] call, and answers how
/// many bytes are in the buffer; 0 beyond the reply's end.
///
/// # Errors
/// [`TooLong`](CallError::TooLong).
pub fn host_reply(offset: usize, buffer: &mut [u8]) -> Result<usize, CallError> {
    let (room, length) = (address_mut(buffer.as_mut_ptr()), buffer.len() as u64);
    // SAFETY: the tender writes to no more than the buffer, which is ours to be overwritten.
    check(unsafe { raw(Call::HostReply as u64, offset as u64, room, length, 0) })
}

/// A text as the contract's structures name it.
pub(crate) fn text(text: &str) -> GuestSlice {
    GuestSlice::new(address(text.as_ptr()), text.len() as u64)
}

// Exposed provenance tells the compiler that the callee may reach the memory.
fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn address_mut<T>(pointer: *mut T) -> u64 {
    pointer.expose_provenance() as u64
}

fn check(result: i64) -> Result<usize, CallError> {
    CallError::check(result).map(|answer| answer as usize)
}
