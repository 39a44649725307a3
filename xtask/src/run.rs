//! `cargo xtask run`: boot an example.

use crate::guests::{EXAMPLES, Profile};
use crate::shell::{Failure, Result, line};
use crate::tender;
use std::ffi::OsString;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The example to boot
    example: Option<String>,
    /// Build the example for speed
    #[arg(long)]
    release: bool,
    /// What the example finds in its arguments
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result {
    let Some(example) = &arguments.example else { return list() };
    check_name(example)?;
    let coracle = tender::build()?;
    let profile = if arguments.release { Profile::Release } else { Profile::Debug };
    let image = EXAMPLES.build_one(profile, example)?;

    let mut run = line(coracle).arg("run").arg(image);
    if !arguments.arguments.is_empty() {
        run = run.arg("--").args(&arguments.arguments);
    }
    run.exec()
}

/// One line for each example, from the first of its source.
fn list() -> Result {
    let packages = EXAMPLES.packages()?;
    let width = packages.iter().map(|package| package.name.len()).max().unwrap_or(0);
    println!("Examples, to be booted with `cargo xtask run NAME`:\n");
    for package in &packages {
        println!("  {:width$}  {}", package.name, package.first_line().unwrap_or_default());
    }
    Ok(())
}

fn check_name(example: &str) -> Result {
    let names: Vec<_> = EXAMPLES.packages()?.into_iter().map(|package| package.name).collect();
    if names.iter().any(|name| name == example) {
        return Ok(());
    }
    Err(Failure::new(format!("there is no example '{example}'; there are: {}", names.join(", "))))
}
