//! What can be wrong with a request or a response.

use crate::io;
use alloc::string::String;
use coracle_hypercall::error::CallError;
use core::fmt;

/// What can be wrong with a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The tender could not give more of the request.
    Input(CallError),
    /// The request's head is not one.
    Request(&'static str),
    /// The request's body is not UTF-8.
    NotUtf8,
    /// A status outside of 200 to 599.
    Status(u16),
    /// A field's name has a character that no name has.
    Name(String),
    /// The value of the field of this name has a control character.
    Value(String),
    /// What makes the body's pieces has failed.
    Body(String),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        Error::Input(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(error) => write!(f, "cannot read the request: {error}"),
            Error::Request(reason) => write!(f, "the request is malformed: {reason}"),
            Error::NotUtf8 => f.write_str("the request's body is not UTF-8"),
            Error::Status(status) => write!(f, "{status} is not a status of a response: 200 to 599 are"),
            Error::Name(name) => write!(f, "{name:?} cannot be the name of a field"),
            Error::Value(name) => write!(f, "the value of the field {name:?} has a control character"),
            Error::Body(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Input(error) => embedded_io::Error::kind(&io::Error::Call(*error)),
            Error::Body(_) => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        }
    }
}
