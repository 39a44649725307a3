//! The command line, one file for each subcommand.

mod doctor;
mod generate;
mod guest;
mod inspect;
mod invoke;
mod later;
mod manual;
mod run;
mod say;
mod serve;
mod signals;
mod snapshot;
mod statistics;
mod value;

use clap::{Parser, Subcommand};
use coracle_hypercall::exit;
use std::fmt::Display;

/// Runs Rust programs as virtual machines of their own.
#[derive(Debug, Parser)]
#[command(name = "coracle", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Invoke(later::Later<invoke::Invoke>),
    Serve(later::Later<serve::Serve>),
    Snapshot(snapshot::Snapshot),
    Inspect(inspect::Inspect),
    Doctor(doctor::Doctor),
    Completions(generate::Completions),
    Man(manual::Man),
}

/// Carries out the command line.
pub(crate) fn run() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; all else means that nothing was started.
            let status = if error.use_stderr() { exit::TENDER } else { 0 };
            return match error.print() {
                Ok(()) => status,
                Err(_) => exit::TENDER,
            };
        }
    };
    match arguments.command {
        Command::Run(run) => run.carry_out(),
        Command::Invoke(later::Later(invoke)) => invoke.carry_out(),
        Command::Serve(later::Later(serve)) => serve.carry_out(),
        Command::Snapshot(snapshot) => snapshot.carry_out(),
        Command::Inspect(inspect) => inspect.carry_out(),
        Command::Doctor(doctor) => doctor.carry_out(),
        Command::Completions(completions) => completions.carry_out::<Arguments>(),
        Command::Man(man) => man.carry_out::<Arguments>(),
    }
}

/// Says why nothing was started, and gives the status for that.
fn refuse(error: impl Display) -> u8 {
    say::say(format_args!("coracle: {error}\n"));
    exit::TENDER
}
