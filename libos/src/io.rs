//! The console: standard input, output and error.
//!
//! The traits are those of `embedded-io`.

mod error;
mod print;
mod stderr;
mod stdin;
pub(crate) mod stdout;

pub use embedded_io::{BufRead, ErrorKind, ErrorType, Read, Write};
pub use error::Error;
#[doc(hidden)]
pub use print::{print, print_error};
pub use stderr::{Stderr, stderr};
pub use stdin::{Lines, Stdin, StdinLock, stdin};
pub use stdout::{Stdout, StdoutLock, stdout};

/// What an operation on the console gives.
pub type Result<T> = core::result::Result<T, Error>;
