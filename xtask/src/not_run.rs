//! The tests that could not run: each adds a line to a file, with its name, a tab and the reason.

use crate::shell::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Names the file.
pub(crate) const LOG: &str = "CORACLE_NOT_RUN_LOG";

/// Empties the file.
pub(crate) fn begin(log: &Path) -> Result {
    crate::paths::write(log, "")
}

/// Says how many tests did not run, if any.
pub(crate) fn summarise(log: &Path) -> Result {
    let lines = std::fs::read_to_string(log).context(|| log.display().to_string())?;
    eprint!("{}", summary(&lines));
    Ok(())
}

/// The tests that did not run, with their reasons.
pub(crate) fn all(log: &Path) -> Result<BTreeMap<String, String>> {
    let lines = std::fs::read_to_string(log).context(|| log.display().to_string())?;
    let lines = lines.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.map(|(test, reason)| (test.to_owned(), reason.to_owned())).collect())
}

/// Shows lines in a way that nobody can miss.
pub(crate) fn shout(lines: &[String]) {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let bar = "!".repeat(width + 8);
    eprintln!("\n{bar}");
    for line in lines {
        eprintln!("!!  {line:width$}  !!");
    }
    eprintln!("{bar}\n");
}

/// A line for each reason with the number of tests that gave it.
fn summary(lines: &str) -> String {
    let tests: BTreeSet<&str> = lines.lines().collect();
    let mut reasons = BTreeMap::new();
    for (_, reason) in tests.iter().filter_map(|line| line.split_once('\t')) {
        *reasons.entry(reason).or_insert(0) += 1;
    }
    let lines = reasons.iter().map(|(reason, count)| {
        let tests = if *count == 1 { "test" } else { "tests" };
        format!("NOT RUN: {count} {tests}, {reason}\n")
    });
    lines.collect()
}

/// Adds a test of xtask itself.
#[cfg(test)]
pub(crate) fn not_run(test: &str, reason: &str) {
    use std::io::Write;
    eprintln!("NOT RUN: {test}: {reason}");
    if let Some(log) = std::env::var_os(LOG) {
        let log = std::fs::File::options().append(true).create(true).open(log);
        let written = log.and_then(|mut log| log.write_all(format!("{test}\t{reason}\n").as_bytes()));
        written.expect("the file that CORACLE_NOT_RUN_LOG names can be written");
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn tests_that_did_not_run_are_counted_once_each_by_reason() {
        assert_eq!(summary(""), "");
        let lines = "a\tno KVM\nb\tno KVM\na\tno KVM\nc\tno sources\n";
        assert_eq!(summary(lines), "NOT RUN: 2 tests, no KVM\nNOT RUN: 1 test, no sources\n");
    }
}
