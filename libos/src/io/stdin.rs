//! Standard input.

use super::{Error, stdout};
use crate::call;
use crate::sync::{Guard, Lock};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use embedded_io::{BufRead, Read};

/// As much as a Linux pipe holds.
const CAPACITY: usize = 64 << 10;

static INPUT: Lock<Input> = Lock::new(Input { bytes: [0; CAPACITY], start: 0, end: 0 });

/// Standard input. It is buffered; a read of 64 KiB or more that finds the buffer empty goes straight
/// into the reader's memory. Standard output is written out before input is waited for.
///
/// An event that the program has subscribed to interrupts a read that waits: see
/// [`event::wait`](crate::event::wait).
#[must_use]
pub const fn stdin() -> Stdin {
    Stdin(())
}

/// Standard input, see [`stdin`].
#[derive(Debug, Clone, Copy)]
pub struct Stdin(());

impl Stdin {
    /// Keeps other threads from reading in between until the lock is dropped.
    #[must_use]
    pub fn lock(self) -> StdinLock {
        StdinLock(INPUT.lock())
    }

    /// Appends the next line, with its line feed, and answers its length; 0 at the end of the input.
    ///
    /// # Errors
    /// As [`StdinLock::read_line`].
    pub fn read_line(self, line: &mut String) -> Result<usize, Error> {
        self.lock().read_line(line)
    }

    /// The lines, without their line ends.
    #[must_use]
    pub fn lines(self) -> Lines {
        self.lock().lines()
    }

    /// Appends all input up to its end and answers how many bytes that is.
    ///
    /// # Errors
    /// When the tender cannot read, or an event interrupts.
    pub fn read_to_end(self, bytes: &mut Vec<u8>) -> Result<usize, Error> {
        self.lock().read_to_end(bytes)
    }

    /// Appends all input up to its end and answers how many bytes that is.
    ///
    /// # Errors
    /// As [`read_to_end`](Stdin::read_to_end), and when the input is not UTF-8.
    pub fn read_to_string(self, text: &mut String) -> Result<usize, Error> {
        self.lock().read_to_string(text)
    }
}

impl embedded_io::ErrorType for Stdin {
    type Error = Error;
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.lock().read(buffer)
    }
}

/// Standard input, for this thread alone. See [`Stdin::lock`].
pub struct StdinLock(Guard<'static, Input>);

impl fmt::Debug for StdinLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdinLock").finish_non_exhaustive()
    }
}

impl StdinLock {
    /// Appends the next line, with its line feed, and answers its length; 0 at the end of the input.
    ///
    /// # Errors
    /// When the tender cannot read, or an event interrupts: then the part of the line that came
    /// before is dropped. When the line is not UTF-8.
    pub fn read_line(&mut self, line: &mut String) -> Result<usize, Error> {
        append_text(line, |bytes| self.read_until_line_feed(bytes))
    }

    /// The lines, without their line ends.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines(self)
    }

    /// Appends all input up to its end and answers how many bytes that is.
    ///
    /// # Errors
    /// When the tender cannot read, or an event interrupts: what was read before is kept.
    pub fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> Result<usize, Error> {
        let before = bytes.len();
        loop {
            let length = bytes.len();
            if bytes.capacity() - length < CAPACITY {
                bytes.reserve(CAPACITY.max(length));
            }
            let room = bytes.capacity();
            bytes.resize(room.min(length + (1 << 20)), 0);
            let result = self.read(&mut bytes[length..]);
            bytes.truncate(length + result.unwrap_or(0));
            if result? == 0 {
                return Ok(length - before);
            }
        }
    }

    /// Appends all input up to its end and answers how many bytes that is.
    ///
    /// # Errors
    /// As [`read_to_end`](StdinLock::read_to_end), and when the input is not UTF-8.
    pub fn read_to_string(&mut self, text: &mut String) -> Result<usize, Error> {
        append_text(text, |bytes| self.read_to_end(bytes))
    }

    fn read_until_line_feed(&mut self, line: &mut Vec<u8>) -> Result<usize, Error> {
        let before = line.len();
        loop {
            let held = self.fill_buf()?;
            let (part, ended) = match held.iter().position(|&byte| byte == b'\n') {
                Some(index) => (&held[..=index], true),
                None => (held, held.is_empty()),
            };
            line.extend_from_slice(part);
            let length = part.len();
            self.consume(length);
            if ended {
                return Ok(line.len() - before);
            }
        }
    }
}

/// Lets `read` append bytes to a text, and takes them back when they are not UTF-8.
fn append_text(
    text: &mut String,
    read: impl FnOnce(&mut Vec<u8>) -> Result<usize, Error>,
) -> Result<usize, Error> {
    let mut bytes = Vec::new();
    let length = read(&mut bytes)?;
    text.push_str(core::str::from_utf8(&bytes).map_err(|_| Error::NotUtf8)?);
    Ok(length)
}

impl embedded_io::ErrorType for StdinLock {
    type Error = Error;
}

impl Read for StdinLock {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let input = &mut *self.0;
        if input.start == input.end && buffer.len() >= CAPACITY {
            return wait_for_input(buffer);
        }
        let held = input.fill()?;
        let length = held.len().min(buffer.len());
        buffer[..length].copy_from_slice(&held[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for StdinLock {
    fn fill_buf(&mut self) -> Result<&[u8], Error> {
        self.0.fill()
    }

    fn consume(&mut self, amount: usize) {
        let input = &mut *self.0;
        input.start = (input.start + amount).min(input.end);
    }
}

/// What has been read and not been taken yet: `start..end` of the bytes.
struct Input {
    bytes: [u8; CAPACITY],
    start: usize,
    end: usize,
}

impl Input {
    /// What is there; if nothing is, waits for more. Empty at the end of the input.
    fn fill(&mut self) -> Result<&[u8], Error> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = wait_for_input(&mut self.bytes)?.min(CAPACITY);
        }
        Ok(&self.bytes[self.start..self.end])
    }
}

fn wait_for_input(buffer: &mut [u8]) -> Result<usize, Error> {
    stdout::flush_before_waiting();
    Ok(call::console_read(buffer)?)
}

/// The lines of standard input, see [`Stdin::lines`].
#[derive(Debug)]
pub struct Lines(StdinLock);

impl Iterator for Lines {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Result<String, Error>> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                if line.ends_with('\n') {
                    line.pop();
                    if line.ends_with('\r') {
                        line.pop();
                    }
                }
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
