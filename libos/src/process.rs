//! Ending the program.

use crate::{call, io};
use core::convert::Infallible;
use core::fmt::Debug;

/// How the program ended, from 0 for success to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All went well: 0.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// Something failed: 1.
    pub const FAILURE: ExitCode = ExitCode(1);

    /// Ends the program with this code, as [`exit`] does.
    pub fn exit_process(self) -> ! {
        exit(i32::from(self.0))
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> ExitCode {
        ExitCode(code)
    }
}

/// What a `main` function may return.
#[diagnostic::on_unimplemented(
    message = "`main` cannot return `{Self}`",
    note = "it may return nothing, `ExitCode`, or `Result` of these with an error that is `Debug`"
)]
pub trait Termination {
    /// The program's exit code.
    fn report(self) -> ExitCode;
}

impl Termination for () {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

impl Termination for ExitCode {
    fn report(self) -> ExitCode {
        self
    }
}

impl Termination for Infallible {
    fn report(self) -> ExitCode {
        match self {}
    }
}

impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn report(self) -> ExitCode {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                crate::eprintln!("Error: {error:?}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs the program's `main` and ends with what it returns. The attribute macro calls this.
#[doc(hidden)]
pub fn run<T: Termination>(main: fn() -> T) -> ! {
    main().report().exit_process()
}

/// Flushes standard output and ends the program with the low eight bits of `code`.
///
/// Nothing is dropped.
///
/// # Panics
/// When the output cannot be written.
pub fn exit(code: i32) -> ! {
    if let Err(error) = io::stdout::flush_now() {
        io::stdout::fail(error);
    }
    call::exit(code as u8)
}

/// Ends the program at once with 134, as a process that aborts does. Output that is still buffered
/// is lost.
pub fn abort() -> ! {
    call::exit(134)
}

/// Stops with an illegal instruction: for what cannot happen, where no call can be relied on.
pub(crate) fn trap() -> ! {
    // SAFETY: the instruction has no effect but the fault that ends the program.
    unsafe { core::arch::asm!("ud2", options(noreturn, nomem, nostack)) }
}
