//! Why reading or writing failed.

use coracle_hypercall::error::CallError;
use core::fmt;
use embedded_io::ErrorKind;

/// Why reading or writing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The tender refused.
    Call(CallError),
    /// Text was wanted, and the input is not UTF-8.
    NotUtf8,
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        Error::Call(error)
    }
}

impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Call(CallError::Interrupted) => ErrorKind::Interrupted,
            Error::Call(CallError::Closed) => ErrorKind::BrokenPipe,
            Error::Call(CallError::Denied) => ErrorKind::PermissionDenied,
            Error::Call(CallError::BadAddress | CallError::BadArgument | CallError::TooLong) => {
                ErrorKind::InvalidInput
            }
            Error::Call(CallError::NoSuchCall) => ErrorKind::Unsupported,
            Error::Call(_) => ErrorKind::Other,
            Error::NotUtf8 => ErrorKind::InvalidData,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Call(error) => error.fmt(f),
            Error::NotUtf8 => f.write_str("the input is not UTF-8"),
        }
    }
}

impl core::error::Error for Error {}
