//! Standard error: unbuffered, but gathered so that one `eprint!` costs one call.

use super::{Error, stdout};
use crate::call::{self, Bytes};
use coracle_hypercall::console::Stream;
use coracle_hypercall::error::CallError;
use core::fmt;

/// Standard error. All that is written goes out at once, after what standard output still holds.
#[must_use]
pub const fn stderr() -> Stderr {
    Stderr(())
}

/// Standard error, see [`stderr`].
#[derive(Debug, Clone, Copy)]
pub struct Stderr(());

impl embedded_io::ErrorType for Stderr {
    type Error = Error;
}

impl embedded_io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        write_out(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl fmt::Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_out(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

fn write_out(mut bytes: &[u8]) -> Result<(), Error> {
    stdout::flush_before_waiting();
    while !bytes.is_empty() {
        match call::console_write(Stream::Error, &[Bytes::from(bytes)]) {
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(CallError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The pieces of one formatted text, which go out together when this is dropped.
pub(super) struct Gathered {
    bytes: [u8; 512],
    length: usize,
}

impl Gathered {
    pub(super) const fn new() -> Gathered {
        Gathered { bytes: [0; 512], length: 0 }
    }

    fn pass_on(&mut self) -> fmt::Result {
        let gathered = self.bytes.get(..self.length).unwrap_or_default();
        self.length = 0;
        write_out(gathered).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Gathered {
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > self.bytes.len() - self.length {
            self.pass_on()?;
        }
        match self.bytes.get_mut(self.length..self.length + text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                self.length += text.len();
                Ok(())
            }
            None => write_out(text.as_bytes()).map_err(|_| fmt::Error),
        }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        let _ = self.pass_on();
    }
}
