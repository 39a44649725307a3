//! Tests that cannot run here, said so that nobody takes them for passed.
//!
//! The test harness keeps what a passing test writes to itself, so this goes past it: to the
//! process's own standard error, and to the file that `CORACLE_NOT_RUN_LOG` names, of which `cargo
//! xtask test` and `run-tests` make a summary.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

/// The tests of this process that did not run, by name.
static TESTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Records that the running test does not run, and why.
#[track_caller]
pub(crate) fn not_run(reason: impl Display) {
    let test = test_name(Location::caller());
    let mut tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !tests.insert(test.clone()) {
        return;
    }
    if tests.len() == 1 {
        say(&format!("NOT RUN: {test}: {reason} (further ones are counted at the end)"));
        // SAFETY: the function has the type that atexit(3) wants, and does not unwind.
        unsafe { libc::atexit(say_how_many) };
    }
    if let Some(log) = std::env::var_os("CORACLE_NOT_RUN_LOG") {
        let log = std::fs::File::options().append(true).create(true).open(log);
        let written = log.and_then(|mut log| log.write_all(format!("{test}\t{reason}\n").as_bytes()));
        written.expect("the file that CORACLE_NOT_RUN_LOG names can be written");
    }
}

/// The harness names a test's thread after it, unless it runs all tests in its only thread: then the
/// place in the source stands for the name.
fn test_name(place: &Location<'_>) -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", place.file(), place.line()),
    }
}

extern "C" fn say_how_many() {
    let count = TESTS.lock().unwrap_or_else(PoisonError::into_inner).len();
    say(&format!("NOT RUN: {count} tests that this program counts as passed"));
}

/// Writes a line to the process's standard error, past what the harness captures.
fn say(line: &str) {
    // SAFETY: the descriptor is open for as long as the process runs, and is not closed here.
    let mut error = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(2) });
    // Where nobody listens, there is nobody to tell.
    let _ = error.write_all(format!("\n{line}\n").as_bytes());
}
