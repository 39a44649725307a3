//! `cargo xtask test`: build everything that tests need, then run them: here, or on a lane.
//!
//! Tests start built programs and never call cargo. All that they start lies in the directory
//! that the variable `CORACLE_TEST_DIR` names, laid out as [`crate::stage`] says.

use crate::here::{self, BACKENDS, Backend};
use crate::lanes::{self, Lane};
use crate::not_run::shout;
use crate::results::{Column, Results, table};
use crate::shell::{Failure, Result};
use crate::stage;
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run nothing; put the tests and all that they start into DIR, with a script `run-tests`, to
    /// be carried to another machine
    #[arg(long, value_name = "DIR", conflicts_with = "on")]
    stage: Option<PathBuf>,
    /// What runs the guests of tests; all is VMs where this machine's KVM makes them, and processes
    #[arg(long, default_value = "all", conflicts_with = "stage")]
    backend: Backends,
    /// Run the tests that boot guests on an emulated machine instead, which has another KVM; may be
    /// given several times
    #[arg(long, value_name = "LANE", conflicts_with = "backend")]
    on: Vec<Lane>,
    /// Names of tests, options of `cargo test`, and after another `--` options of the test
    /// programs. With --on: names of tests and options of the test program, such as `--skip NAME`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backends {
    Kvm,
    Process,
    All,
}

pub(crate) fn test(arguments: &Arguments) -> Result {
    let here = |backend| Report::default().here(backend, &[], &arguments.arguments).end();
    match &arguments.stage {
        Some(directory) => stage::everything(directory),
        None if arguments.on.is_empty() => match arguments.backend {
            Backends::Kvm => here(Backend::Kvm),
            Backends::Process => here(Backend::Process),
            Backends::All => Report::default().everything_here(&[], &arguments.arguments).end(),
        },
        None => {
            let run = |report: Report, lane: &Lane| report.on(*lane, &arguments.arguments);
            arguments.on.iter().fold(Report::default(), run).end()
        }
    }
}

/// The results of several lanes.
#[derive(Default)]
pub(crate) struct Report {
    columns: Vec<Column>,
    lanes: Vec<Lane>,
    /// What was to run and did not.
    not_run: Vec<String>,
    /// What went wrong, in the order in which it did.
    failures: Vec<String>,
}

impl Report {
    /// Runs all tests on this machine, with guests in whatever runs them there.
    pub(crate) fn everything_here(self, variables: &[(&str, &str)], arguments: &[OsString]) -> Report {
        BACKENDS.into_iter().fold(self, |mut report, backend| match backend.missing() {
            None => report.here(backend, variables, arguments),
            Some(reason) => {
                report.left_out(backend.column(), reason);
                report
            }
        })
    }

    /// Runs all tests on this machine, with guests in what was asked for: it has to run them.
    fn here(mut self, backend: Backend, variables: &[(&str, &str)], arguments: &[OsString]) -> Report {
        if let Some(reason) = backend.missing() {
            self.failures.push(format!("{} did not run: {reason}", backend.column()));
            self.left_out(backend.column(), reason);
            return self;
        }
        match here::run(backend, variables, arguments) {
            Ok((results, passed)) => {
                let failed = passed.err().map(|failure| format!("{}: {failure}", backend.column()));
                self.failures.extend(failed);
                self.column(backend.column(), Ok(results));
            }
            Err(failure) => {
                self.failures.push(failure.to_string());
                self.column(backend.column(), Err(failure.to_string()));
            }
        }
        self
    }

    /// Runs tests on a lane that was asked for: it has to run.
    pub(crate) fn on(mut self, lane: Lane, arguments: &[OsString]) -> Report {
        let results = lane.run(arguments).map_err(|failure| failure.to_string());
        match &results {
            Ok(results) if results.failed().is_empty() => {}
            Ok(results) => self.failures.push(format!("{}: {} failed", lane.name(), results.failed().len())),
            Err(reason) => self.failures.push(format!("{} did not run: {reason}", lane.name())),
        }
        self.lane(lane, results);
        self
    }

    /// Runs tests on a lane where this machine has what it needs.
    pub(crate) fn on_if_installed(mut self, lane: Lane, arguments: &[OsString]) -> Report {
        match lane.missing() {
            None => self.on(lane, arguments),
            Some(reason) => {
                self.lane(lane, Err(reason));
                self
            }
        }
    }

    fn lane(&mut self, lane: Lane, results: std::result::Result<Results, String>) {
        self.lanes.push(lane);
        match results {
            Ok(results) => self.column(lane.name(), Ok(results)),
            Err(reason) => self.left_out(lane.name(), reason),
        }
    }

    /// A column that there was to be.
    fn left_out(&mut self, name: &'static str, reason: String) {
        let line = reason.lines().next().unwrap_or_default();
        self.not_run.push(format!("NOT RUN: {name}: {line}"));
        self.column(name, Err(reason));
    }

    fn column(&mut self, name: &'static str, results: std::result::Result<Results, String>) {
        self.columns.push(Column::new(name, results));
    }

    /// Shows the table.
    pub(crate) fn end(mut self) -> Result {
        for lane in lanes::ALL {
            if !self.lanes.contains(&lane) {
                let name = lane.name();
                self.column(name, Err(format!("not asked for (cargo xtask test --on {name})")));
            }
        }
        eprint!("{}", table(&self.columns));
        if !self.not_run.is_empty() {
            shout(&self.not_run);
        }
        match self.failures.as_slice() {
            [] => Ok(()),
            failures => Err(Failure::new(failures.join("\nxtask: "))),
        }
    }
}
