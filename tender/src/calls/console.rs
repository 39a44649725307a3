//! The console: the host's streams, written and read straight from and into guest memory.

use super::{Context, Outside, Reply, State};
use crate::guest::{PIECE, Run};
use crate::memory::Memory;
use crate::paging::Access;
use crate::timespec::timespec;
use coracle_hypercall::call::MAX_BYTES;
use coracle_hypercall::console::{MAX_SLICES, Stream};
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{GuestAddress, GuestSlice};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

/// Runs of guest memory that one system call takes (IOV_MAX of Linux).
const MAX_VECTORS: usize = 1024;

/// A transfer of this size or more is worth a larger pipe.
const LARGE_TRANSFER: u64 = 64 << 10;
/// What such a pipe is asked to hold: enough that exits are few, little enough that what is in the pipes
/// on both sides stays in the CPU's second cache.
const LARGE_PIPE: libc::c_int = 256 << 10;

/// The streams that a guest's console is connected to.
#[derive(Debug)]
pub struct Console<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    error: BorrowedFd<'a>,
    widened: Cell<[bool; 3]>,
}

/// One of the three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Input,
    Output,
    Error,
}

impl From<Stream> for Channel {
    fn from(stream: Stream) -> Channel {
        match stream {
            Stream::Output => Channel::Output,
            Stream::Error => Channel::Error,
        }
    }
}

impl Channel {
    /// What fails when this stream fails, in words.
    fn doing(self) -> &'static str {
        match self {
            Channel::Input => "read standard input",
            Channel::Output => "write standard output",
            Channel::Error => "write standard error",
        }
    }

    /// What is waited for.
    fn events(self) -> libc::c_short {
        if self == Channel::Input { libc::POLLIN } else { libc::POLLOUT }
    }
}

impl<'a> Console<'a> {
    /// A console on these streams.
    #[must_use]
    pub fn new(input: BorrowedFd<'a>, output: BorrowedFd<'a>, error: BorrowedFd<'a>) -> Console<'a> {
        Console { input, output, error, widened: Cell::default() }
    }

    /// A console on this process's standard streams.
    #[must_use]
    pub fn standard() -> Console<'static> {
        // SAFETY: Rust's runtime, or `main.rs` of the command in its place, sees to it that these three
        // are open from the start, and nothing in this process closes them.
        unsafe {
            Console::new(BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2))
        }
    }

    fn descriptor(&self, of: Channel) -> RawFd {
        match of {
            Channel::Input => self.input.as_raw_fd(),
            Channel::Output => self.output.as_raw_fd(),
            Channel::Error => self.error.as_raw_fd(),
        }
    }

    /// Waits, no longer than `timeout`, for a signal or (`wanted`) for input. Says whether there is
    /// input, or its end.
    pub(super) fn wait_for_input(&self, wanted: bool, timeout: Option<Duration>) -> bool {
        let descriptor = if wanted { self.input.as_raw_fd() } else { -1 };
        poll(descriptor, libc::POLLIN, timeout)
    }

    /// Makes the pipe behind a stream larger when it carries large pieces: each piece costs the
    /// guest an exit.
    fn widen(&self, of: Channel, length: u64) {
        let mut widened = self.widened.get();
        let [input, output, error] = &mut widened;
        let done = match of {
            Channel::Input => input,
            Channel::Output => output,
            Channel::Error => error,
        };
        if length < LARGE_TRANSFER || std::mem::replace(done, true) {
            return;
        }
        self.widened.set(widened);
        // SAFETY: fcntl on an open descriptor; one that is no pipe refuses, which is as well.
        unsafe { libc::fcntl(self.descriptor(of), libc::F_SETPIPE_SZ, LARGE_PIPE) };
    }
}

/// Waits, no longer than `timeout`, for a signal. Answers false: there is no input.
pub(super) fn sleep(timeout: Option<Duration>) -> bool {
    poll(-1, libc::POLLIN, timeout)
}

/// Waits for a descriptor to be ready. A descriptor of -1 never is.
fn poll(descriptor: RawFd, events: libc::c_short, timeout: Option<Duration>) -> bool {
    let mut entry = libc::pollfd { fd: descriptor, events, revents: 0 };
    let spec = timeout.map(timespec);
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: one entry and an optional timeout, both locals.
    let ready = unsafe { libc::ppoll(&mut entry, 1, spec, std::ptr::null()) };
    ready > 0
}

/// Runs of guest memory, and the host's view of them for one system call.
pub(super) struct Vectors<'m> {
    memory: &'m Memory,
    runs: Vec<Run>,
    entries: Vec<libc::iovec>,
    length: u64,
}

impl<'m> Vectors<'m> {
    fn new(memory: &'m Memory) -> Vectors<'m> {
        Vectors { memory, runs: Vec::new(), entries: Vec::new(), length: 0 }
    }

    /// Adds a slice of the guest, as far as there is room for its runs.
    fn add(&mut self, slice: GuestSlice, access: Access, context: &Context<'_>) -> Result<(), CallError> {
        context.guest.runs(slice, access, |run| {
            if self.entries.len() < MAX_VECTORS {
                let bytes = match access {
                    Access::Write => self.memory.writable(run.physical, run.length),
                    _ => self.memory.slice(run.physical, run.length),
                };
                let bytes = bytes.map_err(|_| CallError::BadAddress)?;
                self.entries.push(libc::iovec {
                    iov_base: bytes.ptr_guard_mut().as_ptr().cast(),
                    iov_len: bytes.len(),
                });
                self.runs.push(run);
                self.length += run.length;
            }
            Ok(())
        })
    }
}

impl<'m> Vectors<'m> {
    /// The bytes of all runs.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends all bytes to a buffer.
    pub(super) fn append_to(&self, buffer: &mut Vec<u8>) -> Result<(), CallError> {
        self.append_first(self.length, buffer)
    }

    /// Appends the first bytes to a buffer, no more than `most`.
    pub(super) fn append_first(&self, most: u64, buffer: &mut Vec<u8>) -> Result<(), CallError> {
        self.append_while(most, buffer, || true).map(|_| ())
    }

    /// The same piece by piece, as long as this is so. Says whether it was.
    pub(super) fn append_while(
        &self,
        most: u64,
        buffer: &mut Vec<u8>,
        go_on: impl Fn() -> bool,
    ) -> Result<bool, CallError> {
        let mut left = self.length.min(most);
        let mut unlooked = 0;
        let before = buffer.len();
        buffer.reserve(left as usize);
        for run in &self.runs {
            let mut done = 0;
            while done < run.length.min(done + left) {
                if unlooked >= PIECE as u64 {
                    unlooked = 0;
                    if !go_on() {
                        return Ok(false);
                    }
                }
                let length = (run.length - done).min(left).min(PIECE as u64 - unlooked);
                if self.memory.append_to(run.physical + done, length, buffer).is_err() {
                    buffer.truncate(before);
                    return Err(CallError::BadAddress);
                }
                done += length;
                left -= length;
                unlooked += length;
            }
        }
        Ok(true)
    }

    /// What comes after the first `done` bytes.
    pub(super) fn after(&self, mut done: u64) -> Vectors<'m> {
        let mut rest = Vectors::new(self.memory);
        for (run, entry) in self.runs.iter().zip(&self.entries) {
            let skip = done.min(run.length);
            done -= skip;
            if skip < run.length {
                rest.runs.push(Run { physical: run.physical + skip, length: run.length - skip });
                rest.entries.push(libc::iovec {
                    iov_base: entry.iov_base.wrapping_byte_add(skip as usize),
                    iov_len: entry.iov_len - skip as usize,
                });
                rest.length += run.length - skip;
            }
        }
        rest
    }

    /// After a large read of `done` bytes reads on while there is input at once and room for it:
    /// that costs less than another exit. Says how many bytes came. An end or an error is left for
    /// the next read to find, which terminals would not let it: they give no large reads.
    fn read_more(&self, descriptor: RawFd, done: u64) -> u64 {
        let mut more = 0;
        while done >= LARGE_TRANSFER && done + more < self.length {
            if !poll(descriptor, libc::POLLIN, Some(Duration::ZERO)) {
                break;
            }
            let rest = self.after(done + more);
            let (list, count) = (rest.entries.as_ptr(), rest.entries.len() as libc::c_int);
            // SAFETY: each entry is a part of one of this list, all of which lie in guest memory.
            let moved = unsafe { libc::readv(descriptor, list, count) };
            match u64::try_from(moved) {
                Ok(moved) if moved > 0 => more += moved,
                _ => break,
            }
        }
        more
    }
}

impl State {
    pub(super) fn console_write(
        &mut self,
        stream: u64,
        slices: u64,
        count: u64,
        context: &mut Context<'_>,
    ) -> Reply {
        let Some(stream) = Stream::from_number(stream) else {
            return Reply::Result(Err(CallError::BadArgument));
        };
        if matches!(context.outside, Outside::Caller(_)) {
            return self.console_of_caller(stream, slices, count, context);
        }
        let vectors = match gather(slices, count, MAX_BYTES, context) {
            Ok(vectors) => vectors,
            Err(error) => return Reply::Result(Err(error)),
        };
        self.transfer(stream.into(), &vectors, context)
    }

    pub(super) fn console_read(&mut self, buffer: u64, length: u64, context: &mut Context<'_>) -> Reply {
        if matches!(context.outside, Outside::Caller(_)) {
            return self.input(buffer, length, context);
        }
        let mut vectors = Vectors::new(context.guest.memory());
        if let Err(error) =
            vectors.add(GuestSlice::new(buffer, length.min(MAX_BYTES)), Access::Write, context)
        {
            return Reply::Result(Err(error));
        }
        self.transfer(Channel::Input, &vectors, context)
    }

    /// Moves bytes once, waiting until that is possible or the guest has something else to do.
    pub(super) fn transfer(
        &mut self,
        stream: Channel,
        vectors: &Vectors<'_>,
        context: &mut Context<'_>,
    ) -> Reply {
        let Outside::Streams(console) = context.outside else { return Reply::Result(Err(CallError::Io)) };
        if vectors.length == 0 {
            return Reply::Result(Ok(0));
        }
        console.widen(stream, vectors.length);
        let (descriptor, events) = (console.descriptor(stream), stream.events());
        let (list, count) = (vectors.entries.as_ptr(), vectors.entries.len() as libc::c_int);
        loop {
            // News that came before the call ends a read that would wait for input. A write it does
            // not: programs write on regardless, and would only ask again.
            if events == libc::POLLIN
                && self.events.has_news()
                && !poll(descriptor, events, Some(Duration::ZERO))
            {
                return Reply::Result(Err(CallError::Interrupted));
            }
            // SAFETY: each entry lies in guest memory, which outlives the call; the kernel reads or
            // writes it as it would any buffer that another thread may change.
            let moved = unsafe {
                match events {
                    libc::POLLIN => libc::readv(descriptor, list, count),
                    _ => libc::writev(descriptor, list, count),
                }
            };
            if let Ok(moved) = u64::try_from(moved) {
                let more = if events == libc::POLLIN { vectors.read_more(descriptor, moved) } else { 0 };
                return Reply::Result(Ok(moved + more));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    poll(descriptor, events, None);
                }
                io::ErrorKind::BrokenPipe => return Reply::Result(Err(CallError::Closed)),
                _ => return Reply::Result(Err(self.host_failed(stream.doing(), &error, context))),
            }
            if self.events.must_stop() {
                return Reply::Stop;
            }
            if self.events.has_news() {
                return Reply::Result(Err(CallError::Interrupted));
            }
        }
    }
}

/// Copies the guest's list of slices once and finds what it leads to, as far as the first `most` bytes.
pub(super) fn gather<'m>(
    slices: u64,
    count: u64,
    most: u64,
    context: &Context<'m>,
) -> Result<Vectors<'m>, CallError> {
    let mut list = [GuestSlice::new_zeroed(); MAX_SLICES as usize];
    collect(copy_list(&mut list, slices, count, context)?, most, context)
}

/// The same with all bytes of the list.
///
/// # Errors
/// [`CallError::TooLong`] when one call may not move as many.
pub(super) fn gather_all<'m>(
    slices: u64,
    count: u64,
    context: &Context<'m>,
) -> Result<Vectors<'m>, CallError> {
    let mut list = [GuestSlice::new_zeroed(); MAX_SLICES as usize];
    let list = copy_list(&mut list, slices, count, context)?;
    if list.iter().fold(0, |sum: u64, slice| sum.saturating_add(slice.length)) > MAX_BYTES {
        return Err(CallError::TooLong);
    }
    collect(list, MAX_BYTES, context)
}

fn copy_list<'l>(
    list: &'l mut [GuestSlice],
    slices: u64,
    count: u64,
    context: &Context<'_>,
) -> Result<&'l [GuestSlice], CallError> {
    if count > MAX_SLICES {
        return Err(CallError::TooLong);
    }
    let list = list.get_mut(..count as usize).ok_or(CallError::TooLong)?;
    context.guest.read(GuestAddress(slices), list.as_mut_bytes())?;
    Ok(list)
}

fn collect<'m>(list: &[GuestSlice], most: u64, context: &Context<'m>) -> Result<Vectors<'m>, CallError> {
    let mut vectors = Vectors::new(context.guest.memory());
    let mut left = most;
    for slice in list {
        let length = slice.length.min(left);
        left -= length;
        vectors.add(GuestSlice { length, ..*slice }, Access::Read, context)?;
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::{Channel, Console, LARGE_PIPE, LARGE_TRANSFER};
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn each_stream_that_carries_large_pieces_gets_a_large_pipe() {
        let (input, _source) = std::io::pipe().expect("a pipe");
        let (_sink, output) = std::io::pipe().expect("a pipe");
        let (_other_sink, error) = std::io::pipe().expect("a pipe");
        let console = Console::new(input.as_fd(), output.as_fd(), error.as_fd());
        // SAFETY: fcntl on a descriptor of the console, which is open.
        let size = |of| unsafe { libc::fcntl(console.descriptor(of).as_raw_fd(), libc::F_GETPIPE_SZ) };
        for stream in [Channel::Input, Channel::Output, Channel::Error] {
            console.widen(stream, LARGE_TRANSFER - 1);
            assert!(size(stream) < LARGE_PIPE, "{stream:?}");
            console.widen(stream, LARGE_TRANSFER);
            assert_eq!(size(stream), LARGE_PIPE, "{stream:?}");
        }
    }
}
