//! `cargo xtask test`: build everything that tests need, then run them.
//!
//! Tests start built programs and never call cargo. All that they start lies in the directory
//! that the variable `CORACLE_TEST_DIR` names, laid out as [`crate::stage`] says.

use crate::shell::{Result, cargo};
use crate::{kvm, not_run, paths, stage};
use std::ffi::OsString;
use std::path::PathBuf;

/// Names the directory of the programs that tests start.
const TEST_DIR: &str = "CORACLE_TEST_DIR";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run nothing; put the tests and all that they start into DIR, with a script `run-tests`, to
    /// be carried to another machine
    #[arg(long, value_name = "DIR")]
    stage: Option<PathBuf>,
    /// For `cargo test`: names of tests, options, and after another `--` options of the test
    /// programs
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn test(arguments: &Arguments) -> Result {
    match &arguments.stage {
        Some(directory) => stage::everything(directory),
        None => run(&[], &arguments.arguments),
    }
}

/// Builds what tests need and runs them with more variables and arguments for cargo.
pub(crate) fn run(variables: &[(&str, &str)], arguments: &[OsString]) -> Result {
    kvm::warn_if_missing();
    let directory = paths::target().join("test-images");
    stage::images(&directory)?;
    let log = paths::target().join("tests-not-run");
    not_run::begin(&log)?;

    // The libos has no tests of its own, and Cargo would build it as one when names of tests are given.
    let mut test = cargo("test").args(["--workspace", "--exclude", "coracle"]);
    test = test.env(TEST_DIR, &directory).env(not_run::LOG, &log);
    for (name, value) in variables {
        test = test.env(name, value);
    }
    let result = test.args(arguments).run();
    kvm::warn_if_missing();
    not_run::summarise(&log)?;
    result
}
