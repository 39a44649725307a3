//! The printing macros.

use super::{stderr, stdout};
use core::fmt::{Arguments, Write};

/// Prints to standard output. See [`io::stdout`](crate::io::stdout()) for when it appears.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => { $crate::io::print(::core::format_args!($($argument)*)) };
}

/// Prints a line to standard output. See [`io::stdout`](crate::io::stdout()) for when it appears.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => { $crate::print!("{}\n", ::core::format_args!($($argument)*)) };
}

/// Prints to standard error, at once.
#[macro_export]
macro_rules! eprint {
    ($($argument:tt)*) => { $crate::io::print_error(::core::format_args!($($argument)*)) };
}

/// Prints a line to standard error, at once.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprint!("\n") };
    ($($argument:tt)*) => { $crate::eprint!("{}\n", ::core::format_args!($($argument)*)) };
}

/// Prints expressions and their values to standard error and gives the values back.
#[macro_export]
macro_rules! dbg {
    () => { $crate::eprintln!("[{}:{}:{}]", ::core::file!(), ::core::line!(), ::core::column!()) };
    ($value:expr $(,)?) => {
        match $value {
            value => {
                $crate::eprintln!(
                    "[{}:{}:{}] {} = {:#?}",
                    ::core::file!(), ::core::line!(), ::core::column!(), ::core::stringify!($value), &value
                );
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => { ($($crate::dbg!($value)),+,) };
}

/// What `print!` becomes.
///
/// # Panics
/// When the output cannot be written, or a `Display` of the arguments fails.
#[inline(never)]
pub fn print(arguments: Arguments<'_>) {
    let mut output = stdout().lock();
    // A plain string needs none of the formatting machinery.
    let result = match arguments.as_str() {
        Some(text) => output.write_str(text),
        None => output.write_fmt(arguments),
    };
    if result.is_err() {
        match output.error() {
            Some(error) => stdout::fail(error),
            None => panic!("a formatting trait gave an error although the output did not"),
        }
    }
}

/// What `eprint!` becomes. Where nobody listens, nothing is said.
#[inline(never)]
pub fn print_error(arguments: Arguments<'_>) {
    let mut error = stderr::Gathered::new();
    let _ = match arguments.as_str() {
        Some(text) => error.write_str(text),
        None => error.write_fmt(arguments),
    };
}
