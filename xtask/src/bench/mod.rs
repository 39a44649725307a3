//! `cargo xtask bench`: every number beside its yardstick.
//!
//! An *experiment* has subjects (hello, the bare program, `/bin/true`), which are sampled in turn:
//! A B C, A B C, … So whatever else the machine does falls on all of them alike. A *row* compares two
//! subjects, sample by sample of the same turn, and has a goal. What is reported is the median,
//! with the quartiles as spread.

mod experiment;
mod json;
mod number;
mod process;
mod programs;
mod statistics;
mod suite;
mod svg;
mod table;

use crate::paths;
use crate::shell::{Context, Failure, Result};
use experiment::{Experiment, Row};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only experiments whose name contains this
    filter: Option<String>,
    /// Write all figures to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table into FILE in Markdown, as docs/measuring.md has it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Hold starts and calls in VMs against another build, such as that of another commit: a row more for each. DIR has
    /// its `coracle` and `bench-calls`
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Draw the ratios against their goals into FILE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Fewer and smaller samples: to see whether all works, not to quote
    #[arg(long)]
    quick: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
}

impl Arguments {
    /// All experiments, to see whether they work.
    pub(crate) fn quick() -> Arguments {
        Arguments {
            filter: None,
            json: None,
            markdown: None,
            before: None,
            svg: None,
            quick: true,
            check: false,
        }
    }

    /// All experiments at full length, with results in `target/bench`.
    pub(crate) fn full() -> Arguments {
        let file = |name| Some(paths::target().join("bench").join(name));
        Arguments {
            filter: None,
            json: file("bench.json"),
            markdown: file("bench.md"),
            before: None,
            svg: file("bench.svg"),
            quick: false,
            check: true,
        }
    }
}

pub(crate) fn bench(arguments: &Arguments) -> Result {
    let programs = programs::build(arguments.before.as_deref())?;
    let experiments = chosen(suite::all(&programs, arguments.quick), arguments.filter.as_deref())?;

    eprintln!();
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for experiment in experiments {
        let name = experiment.name();
        match experiment.run() {
            Ok(more) => rows.extend(more),
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    report(arguments, &rows)?;
    verdict(arguments, &rows, &failures)
}

/// The names of all experiments, each with those of its rows.
#[cfg(test)]
pub(crate) fn all_rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let programs = programs::Programs::none();
    let all = suite::all(&programs, true);
    all.iter().map(|experiment| (experiment.name(), experiment.rows().collect())).collect()
}

fn chosen<'a>(all: Vec<Experiment<'a>>, filter: Option<&str>) -> Result<Vec<Experiment<'a>>> {
    let names: Vec<_> = all.iter().map(Experiment::name).collect();
    let filter = filter.unwrap_or_default();
    let chosen: Vec<_> = all.into_iter().filter(|experiment| experiment.name().contains(filter)).collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!(
            "no experiment has '{filter}' in its name; there are: {}",
            names.join(", ")
        )));
    }
    Ok(chosen)
}

fn report(arguments: &Arguments, rows: &[Row]) -> Result {
    print!("{}", table::render(rows));
    if let Some(file) = &arguments.json {
        save(file, &json::render(rows))?;
    }
    if let Some(file) = &arguments.markdown {
        save(file, &table::markdown(rows))?;
    }
    if let Some(file) = &arguments.svg {
        save(file, &svg::render(rows))?;
    }
    Ok(())
}

fn save(file: &Path, contents: &str) -> Result {
    let file = std::path::absolute(file).context(|| file.display().to_string())?;
    paths::write(&file, contents)?;
    eprintln!("wrote {}", file.display());
    Ok(())
}

fn verdict(arguments: &Arguments, rows: &[Row], failures: &[String]) -> Result {
    if !failures.is_empty() {
        return Err(Failure::new(format!("could not be measured:\n  {}", failures.join("\n  "))));
    }
    let missed: Vec<_> = rows.iter().filter(|row| row.met() == Some(false)).map(|row| row.what).collect();
    if arguments.check && !missed.is_empty() {
        return Err(Failure::new(format!("goals missed:\n  {}", missed.join("\n  "))));
    }
    Ok(())
}
