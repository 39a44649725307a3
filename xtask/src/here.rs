//! All tests, by `cargo test`, on this machine: with guests in VMs of its KVM, or in processes.

use crate::results::Results;
use crate::shell::{Line, Result, cargo};
use crate::{kvm, not_run, paths, stage};
use clap::ValueEnum;
use lane_init::Outcome;
use serde::Serialize;
use std::ffi::OsString;
use std::io::Write;
use std::sync::Once;

/// Names the directory of the programs that tests start.
const TEST_DIR: &str = "CORACLE_TEST_DIR";

/// What cargo calls the program whose tests boot guests.
const VM: &str = "tests/vm/main.rs";

/// What runs the guests of tests, by its name on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// VMs of this machine's KVM
    Kvm,
    /// Processes
    Process,
}

/// Both of them.
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Kvm, Backend::Process];

impl Backend {
    /// Names one to the tender and to its tests.
    pub(crate) const VARIABLE: &str = "CORACLE_BACKEND";

    /// The name of its results.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Backend::Kvm => "kvm here",
            Backend::Process => "process here",
        }
    }

    /// What the tender calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Kvm => "kvm",
            Backend::Process => "process",
        }
    }

    /// Why it runs no guest on this machine.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Backend::Kvm => kvm::missing().map(|reason| format!("no usable KVM: {reason}")),
            Backend::Process => None,
        }
    }
}

/// Builds what tests need and runs them with more variables and arguments for cargo. What is answered
/// are the results of tests that boot guests, whatever becomes of all of them.
pub(crate) fn run(
    backend: Backend,
    variables: &[(&str, &str)],
    arguments: &[OsString],
) -> Result<(Results, Result)> {
    static STAGED: Once = Once::new();
    let directory = paths::target().join("test-images");
    stage::once(&STAGED, || stage::images(&directory))?;
    let log = paths::target().join("tests-not-run");
    not_run::begin(&log)?;

    // The libos has no tests of its own, and Cargo would build it as one when names of tests are given.
    let mut test = cargo("test").args(["--workspace", "--exclude", "coracle"]);
    test = test.env(TEST_DIR, &directory).env(not_run::LOG, &log).env(Backend::VARIABLE, backend.name());
    for (name, value) in variables {
        test = test.env(name, value);
    }
    let (mut results, passed) = follow(test.args(for_cargo(arguments)))?;
    not_run::summarise(&log)?;
    for (test, reason) in not_run::all(&log)? {
        results.not_run(&test, reason);
    }
    Ok((results, passed))
}

/// Names of tests come first. Cargo takes one of them, and test programs take as many as there are.
fn for_cargo(arguments: &[OsString]) -> Vec<OsString> {
    let is_option = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
    let (names, rest) = arguments.split_at(arguments.iter().take_while(|word| !is_option(word)).count());
    let cut = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
    let (cargos, programs) = rest.split_at(cut);
    let separator = OsString::from("--");
    let own = names.iter().chain(programs.iter().skip(1));
    cargos.iter().chain([&separator]).chain(own).cloned().collect()
}

/// Runs cargo, shows what it writes, and takes from that how the tests ended that boot guests.
fn follow(test: Line) -> Result<(Results, Result)> {
    let mut reader = Reader::default();
    let passed = test.run_watched(|line| {
        // Whoever does not listen any more misses it.
        let _ = std::io::stdout().write_all(line);
        reader.line(&String::from_utf8_lossy(line));
    });
    Ok((reader.results, passed))
}

/// Reads what cargo and test programs write.
#[derive(Default)]
struct Reader {
    results: Results,
    /// Whether the tests that boot guests are being run.
    vm: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some((_, program)) = line.split_once("Running ") {
            self.vm = program.starts_with(VM);
        } else if line.contains("Doc-tests ") {
            self.vm = false;
        }
        let Some((test, word)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) else {
            return;
        };
        let outcome = match word {
            _ if !self.vm => return,
            "ok" => Outcome::Passed,
            "ignored" => Outcome::NotRun("it is among the long ones (cargo xtask nightly)".to_owned()),
            word if word.starts_with("ignored, ") => Outcome::NotRun(word.replacen("ignored, ", "", 1)),
            "FAILED" => Outcome::Failed(String::new()),
            // A test that this one started in a process of its own has written in between.
            _ => return,
        };
        self.results.add(test.to_owned(), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;
    use crate::results::{Column, table};

    #[test]
    fn results_are_read_from_what_cargo_shows() {
        let mut reader = Reader::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/coracle_tender-1)\n",
            "test paging::one ... ok\n",
            "     Running tests/vm/main.rs (target/debug/deps/vm-1)\n",
            "running 3 tests\n",
            "test rights::two ... ok\n",
            "test rights::three ... FAILED\n",
            "test soak::four ... ignored, takes an hour\n",
            "   Doc-tests coracle_tender\n",
            "test src/lib.rs - (line 7) ... ok\n",
        ] {
            reader.line(line);
        }
        let table = table(&[Column::new("here", Ok(reader.results))]);
        assert!(table.contains("1 passed, 1 FAILED, 1 not run"), "{table}");
    }
}
