//! The tasks of this repository: `cargo xtask`.
//!
//! Every task prints the commands that it runs, so that each can be run alone and changed.

mod bench;
mod build;
mod ci;
mod dist;
#[cfg(test)]
mod documents;
mod guests;
mod here;
mod kvm;
mod lanes;
mod licences;
mod metadata;
mod nightly;
mod not_run;
mod paths;
mod results;
mod run;
mod shell;
mod stage;
mod tender;
mod test;
mod variants;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The tasks of this repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Boot an example; without a name, list the examples
    Run(run::Arguments),
    /// Build the tender and all examples: dev, release, and stripped
    Build,
    /// Build everything that tests need, then run them
    Test(test::Arguments),
    /// Measure, each number beside its yardstick
    Bench(bench::Arguments),
    /// What CI runs: format, lints, docs, licences, a short bench, tests
    Ci,
    /// The long runs: all tests with full counts, then the whole bench
    Nightly,
    /// The `coracle` command to give away, in target/dist
    Dist,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Run(arguments) => run::run(&arguments),
        Task::Build => build::build(),
        Task::Test(arguments) => test::test(&arguments),
        Task::Bench(arguments) => bench::bench(&arguments),
        Task::Ci => ci::ci(),
        Task::Nightly => nightly::nightly(),
        Task::Dist => dist::dist(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
