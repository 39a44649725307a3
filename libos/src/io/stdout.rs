//! Standard output: buffered, since each write that leaves the machine costs an exit.

use super::Error;
use crate::call::{self, Bytes};
use crate::process;
use crate::sync::{Held, Reentrant};
use coracle_hypercall::console::Stream;
use coracle_hypercall::error::CallError;
use coracle_hypercall::exit;
use core::arch::x86_64::_rdtsc;
use core::cell::{RefCell, RefMut};
use core::fmt;

/// Large enough that the exits of a long output cost little, small enough that a short one touches
/// few pages.
const CAPACITY: usize = 16 << 10;

/// Ticks of the time stamp counter that one line written out at its end uses up: a bit under a
/// millisecond on today's machines.
const LINE_COST: u64 = 1 << 21;
/// How many lines may be written out at their end in a row before that costs more than waiting.
const LINES_IN_A_ROW: u64 = 16;

/// What is written and has not gone out. Apart from `OUTPUT`, so that a run that writes nothing changes
/// no page for it.
static mut BYTES: [u8; CAPACITY] = [0; CAPACITY];

static OUTPUT: Reentrant<RefCell<Output>> = Reentrant::new(RefCell::new(Output {
    // SAFETY: nothing else names these bytes.
    bytes: unsafe { &mut *core::ptr::addr_of_mut!(BYTES) },
    length: 0,
    paid: 0,
    untold: 0,
}));

/// Standard output. It is buffered, and what the buffer holds is written out
///
/// - when the buffer is full, at [`flush`](embedded_io::Write::flush), and when the program ends;
/// - before the program waits: for input, for an event, in a sleep; and before standard error is
///   written, so that the two keep their order;
/// - at the end of a line, as long as there are no more than about a thousand lines in a second: so
///   one sees a program at work, and a program that prints a lot is not held up by it.
///
/// When nobody reads the output any more, the program ends quietly with
/// [`CLOSED_OUTPUT`](exit::CLOSED_OUTPUT), as Unix programs do.
#[must_use]
pub const fn stdout() -> Stdout {
    Stdout(())
}

/// Standard output, see [`stdout`].
#[derive(Debug, Clone, Copy)]
pub struct Stdout(());

impl Stdout {
    /// Keeps other threads from writing in between until the lock is dropped.
    #[must_use]
    pub fn lock(self) -> StdoutLock {
        StdoutLock { output: OUTPUT.lock(), failed: None }
    }
}

/// Standard output, for this thread alone. See [`Stdout::lock`].
pub struct StdoutLock {
    output: Held<'static, RefCell<Output>>,
    /// What `fmt::Write` cannot tell.
    failed: Option<CallError>,
}

impl fmt::Debug for StdoutLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutLock").finish_non_exhaustive()
    }
}

impl StdoutLock {
    /// The buffer, which no code borrows that could come back here.
    fn output(&self) -> RefMut<'_, Output> {
        borrow(&self.output)
    }

    /// Why formatted text could not be written.
    pub(super) const fn error(&self) -> Option<CallError> {
        self.failed
    }
}

impl embedded_io::ErrorType for StdoutLock {
    type Error = Error;
}

impl embedded_io::Write for StdoutLock {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.output().write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.output().flush()?)
    }
}

impl fmt::Write for StdoutLock {
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let result = self.output().write(text.as_bytes());
        self.failed = result.err();
        result.map_err(|_| fmt::Error)
    }
}

impl embedded_io::ErrorType for Stdout {
    type Error = Error;
}

impl embedded_io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.lock().flush()
    }
}

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.lock().write_str(text)
    }
}

/// Panics because output cannot be written.
#[cold]
pub(crate) fn fail(error: CallError) -> ! {
    panic!("cannot write standard output: {error}")
}

/// Writes out what the buffer holds.
pub(crate) fn flush_now() -> Result<(), CallError> {
    borrow(&OUTPUT.lock()).flush()
}

/// Writes out what the buffer holds. An error is told by the write or flush that comes next.
pub(crate) fn flush_before_waiting() {
    let output = OUTPUT.lock();
    let mut output = borrow(&output);
    if let Err(error) = output.flush() {
        output.untold = error.to_result();
    }
}

/// Writes out what the buffer holds unless that is being done where the panic happened.
pub(crate) fn flush_at_panic() {
    if let Some(output) = OUTPUT.try_lock()
        && let Ok(mut output) = output.try_borrow_mut()
    {
        let _ = output.flush();
    }
}

/// `RefCell::borrow_mut` without the panic that can never come and would make every image larger.
fn borrow(output: &RefCell<Output>) -> RefMut<'_, Output> {
    output.try_borrow_mut().unwrap_or_else(|_| process::trap())
}

/// The buffer. No code of the program's own runs while it is borrowed.
struct Output {
    bytes: &'static mut [u8; CAPACITY],
    length: usize,
    /// The count of ticks up to which the lines written out so far have used up.
    paid: u64,
    /// The result of a call whose error nobody has been told of, else 0.
    untold: i64,
}

impl Output {
    /// Writes all of `bytes`, into the buffer if they fit, else out together with what it holds.
    fn write(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) else {
            return self.write_out(bytes);
        };
        room.copy_from_slice(bytes);
        self.length += bytes.len();
        if bytes.last() == Some(&b'\n') && self.may_show_line() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CallError> {
        if self.length == 0 && self.untold == 0 { Ok(()) } else { self.write_out(&[]) }
    }

    /// Whether lines come so slowly that this one can be written out by itself.
    fn may_show_line(&mut self) -> bool {
        // SAFETY: every x86-64 CPU has the instruction.
        let now = unsafe { _rdtsc() };
        // Further ahead it never gets, but where the counter has gone back, in a machine made anew.
        let before = if self.paid > now + (LINES_IN_A_ROW + 1) * LINE_COST { now } else { self.paid };
        let paid = before.max(now);
        if paid - now >= LINES_IN_A_ROW * LINE_COST {
            return false;
        }
        self.paid = paid + LINE_COST;
        true
    }

    /// Writes out what the buffer holds and then `more`, and leaves the buffer empty: what an error
    /// keeps from being written is lost.
    #[inline(never)]
    fn write_out(&mut self, mut more: &[u8]) -> Result<(), CallError> {
        CallError::check(core::mem::take(&mut self.untold))?;
        let mut held = self.bytes.get(..self.length).unwrap_or_default();
        self.length = 0;
        while !(held.is_empty() && more.is_empty()) {
            match call::console_write(Stream::Output, &[Bytes::from(held), Bytes::from(more)]) {
                Ok(taken) => {
                    let of_held = taken.min(held.len());
                    held = &held[of_held..];
                    more = more.get(taken - of_held..).unwrap_or_default();
                }
                Err(CallError::Interrupted) => {}
                Err(CallError::Closed) => call::exit(exit::CLOSED_OUTPUT),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
