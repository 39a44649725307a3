//! Completions and the man page, made from the command line's own description.

use super::refuse;
use clap::{Args, CommandFactory};
use std::io;
use std::process::ExitCode;

/// Prints a completion script for a shell
///
/// For bash: coracle completions bash > ~/.local/share/bash-completion/completions/coracle
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn carry_out<C: CommandFactory>(&self) -> ExitCode {
        clap_complete::generate(self.shell, &mut C::command(), "coracle", &mut io::stdout());
        ExitCode::SUCCESS
    }
}

/// Prints the man page in roff
#[derive(Debug, Args)]
pub(super) struct Man;

impl Man {
    pub(super) fn carry_out<C: CommandFactory>(&self) -> ExitCode {
        match clap_mangen::Man::new(C::command()).render(&mut io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(format_args!("cannot write the man page: {error}")),
        }
    }
}
