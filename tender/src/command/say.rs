//! What the command itself says. `print!` and `eprint!` panic where nobody reads; this does not.

use coracle_hypercall::exit;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Says something on standard error, all at once. Where nobody reads, nothing is said.
pub(super) fn say(text: impl Display) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// Writes what was asked for to standard output, and gives the status for how that went.
pub(super) fn show(text: impl Display, status: ExitCode) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.to_string().as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => status,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::CLOSED_OUTPUT),
        Err(error) => super::refuse(format_args!("cannot write standard output: {error}")),
    }
}
