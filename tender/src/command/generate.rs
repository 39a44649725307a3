//! Completions, made from the command line's own description.

use super::say::show;
use clap::{Args, CommandFactory};

/// Prints a completion script for a shell
///
/// For bash: coracle completions bash > ~/.local/share/bash-completion/completions/coracle
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn carry_out<C: CommandFactory>(&self) -> u8 {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut C::command(), "coracle", &mut script);
        show(String::from_utf8_lossy(&script), 0)
    }
}
