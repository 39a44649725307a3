//! How tests ended, lane by lane, and the table of that.

use lane_init::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// The results of one lane.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By the names of tests.
    outcomes: BTreeMap<String, Outcome>,
    /// What was tried less often than elsewhere.
    fewer: BTreeSet<String>,
}

/// A lane of the table.
#[derive(Debug)]
pub(crate) struct Column {
    name: &'static str,
    /// Or why there are none.
    results: Result<Results, String>,
}

impl Results {
    pub(crate) fn add(&mut self, test: String, outcome: Outcome) {
        self.outcomes.insert(test, outcome);
    }

    pub(crate) fn fewer(&mut self, what: String) {
        self.fewer.insert(what);
    }

    /// A test that counts as passed says that it did not run.
    pub(crate) fn not_run(&mut self, test: &str, reason: String) {
        if let Some(outcome) = self.outcomes.get_mut(test) {
            *outcome = Outcome::NotRun(reason);
        }
    }

    /// The tests that failed.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let failed = self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        failed.map(|(test, _)| test.as_str()).collect()
    }

    /// The tests of one case: a case is the module that a test lies in, or the outermost of them.
    fn of_case(&self, case: &str) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |(test, _)| case_of(test) == case).map(|(_, outcome)| outcome)
    }

    fn reasons(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut reasons = BTreeMap::<&str, Vec<&str>>::new();
        for (test, outcome) in &self.outcomes {
            if let Outcome::NotRun(reason) = outcome {
                reasons.entry(reason).or_default().push(test);
            }
        }
        reasons
    }
}

impl Column {
    pub(crate) fn new(name: &'static str, results: Result<Results, String>) -> Column {
        Column { name, results }
    }

    fn ran(&self) -> Option<&Results> {
        self.results.as_ref().ok()
    }
}

fn case_of(test: &str) -> &str {
    test.split("::").next().unwrap_or(test)
}

/// How some tests ended, in short.
fn cell<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let (mut passed, mut failed, mut not_run) = (0, 0, 0);
    for outcome in outcomes {
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::NotRun(_) => not_run += 1,
        }
    }
    let counts = [(passed, "passed"), (failed, "FAILED"), (not_run, "not run")];
    let counts = counts.iter().filter(|(count, _)| *count != 0);
    let text = counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "–".to_owned() } else { text }
}

/// Cases × lanes, then what did not run, what was scaled down, and what failed.
pub(crate) fn table(columns: &[Column]) -> String {
    let ran: Vec<(&str, &Results)> =
        columns.iter().filter_map(|column| Some((column.name, column.ran()?))).collect();
    let tests = ran.iter().flat_map(|(_, results)| results.outcomes.keys());
    let cases: BTreeSet<&str> = tests.map(|test| case_of(test)).collect();

    let mut rows = Vec::new();
    if !cases.is_empty() {
        let names = ran.iter().map(|(name, _)| (*name).to_owned());
        rows.push(std::iter::once("case".to_owned()).chain(names).collect());
        for case in cases {
            let cells = ran.iter().map(|(_, results)| cell(results.of_case(case)));
            rows.push(std::iter::once(case.to_owned()).chain(cells).collect());
        }
        let cells = ran.iter().map(|(_, results)| cell(results.outcomes.values()));
        rows.push(std::iter::once("all".to_owned()).chain(cells).collect());
    }
    let mut text = aligned(&rows);
    for (lane, results) in &ran {
        for (reason, tests) in results.reasons() {
            text += &format!("\nNOT RUN: on {lane}: {reason}:");
            text += &some(&tests);
        }
        if !results.fewer.is_empty() {
            text += &format!("\nscaled down on {lane}:");
            results.fewer.iter().for_each(|line| text += &format!("\n  {line}"));
        }
        if !results.failed().is_empty() {
            text += &format!("\nFAILED: on {lane}:");
            results.failed().iter().for_each(|test| text += &format!("\n  {test}"));
        }
    }
    for column in columns {
        if let Err(reason) = &column.results {
            text += &format!("\nNOT RUN: {}: {reason}", column.name);
        }
    }
    text + "\n"
}

/// Names below each other; of very many, the first.
fn some(tests: &[&str]) -> String {
    const SHOWN: usize = 30;
    let mut text: String = tests.iter().take(SHOWN).map(|test| format!("\n  {test}")).collect();
    if tests.len() > SHOWN {
        text += &format!("\n  … {} in all", tests.len());
    }
    text
}

/// Rows with their cells below each other.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("\n{}", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_case_and_a_column_for_each_lane_that_ran() {
        let mut here = Results::default();
        here.add("rights::ports::one".to_owned(), Outcome::Passed);
        here.add("rights::far::two".to_owned(), Outcome::Passed);
        let mut there = Results::default();
        there.add("rights::ports::one".to_owned(), Outcome::Failed("why".to_owned()));
        there.add("serve::three".to_owned(), Outcome::NotRun("no time".to_owned()));
        let columns = [
            Column::new("here", Ok(here)),
            Column::new("there", Ok(there)),
            Column::new("nowhere", Err("nobody went".to_owned())),
        ];
        let lines = [
            "",
            "case    here      there",
            "rights  2 passed  1 FAILED",
            "serve   –         1 not run",
            "all     2 passed  1 FAILED, 1 not run",
            "NOT RUN: on there: no time:",
            "  serve::three",
            "FAILED: on there:",
            "  rights::ports::one",
            "NOT RUN: nowhere: nobody went",
            "",
        ];
        assert_eq!(table(&columns), lines.join("\n"));
    }
}
