//! The console: the host's standard streams.
//!
//! Bytes pass unchanged in both directions. A tender that has something to say itself never says it
//! on [`Stream::Output`].

/// How many buffers one [`ConsoleWrite`](crate::call::Call::ConsoleWrite) takes.
pub const MAX_SLICES: u64 = 64;

/// A stream that a guest writes to. The numbers are those of Unix descriptors.
#[repr(u64)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Output = 1,
    /// Standard error.
    Error = 2,
}

impl Stream {
    /// The stream with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Stream> {
        match number {
            1 => Some(Stream::Output),
            2 => Some(Stream::Error),
            _ => None,
        }
    }
}
