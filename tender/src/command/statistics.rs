//! `--stats`: what a guest's exits cost, as a table or as JSON, on standard error.

use clap::ValueEnum;
use coracle_tender::instance::Statistics;
use coracle_tender::machine::Counters;
use std::fmt::{self, Write};

/// How statistics are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people
    Table,
    /// One line of JSON
    Json,
}

/// Statistics in a format.
pub(super) fn text(statistics: &Statistics, format: Format) -> String {
    match format {
        Format::Table => table(statistics).unwrap_or_default(),
        Format::Json => match serde_json::to_string(statistics) {
            Ok(json) => json + "\n",
            Err(error) => format!("coracle: cannot show statistics: {error}\n"),
        },
    }
}

/// What hosts count that says where time goes, with words for it. The names are KVM's.
const HOST_COUNTERS: &[(&str, &str)] = &[
    ("exits", "all exits, those to the tender included"),
    ("pf_taken", "page faults taken"),
    ("pf_fixed", "page faults fixed in shadow or nested tables"),
    ("pf_emulate", "page faults emulated"),
    ("pf_spurious", "page faults that had vanished"),
    ("insn_emulation", "instructions emulated"),
    ("insn_emulation_fail", "instructions that could not be emulated"),
    ("io_exits", "port accesses"),
    ("irq_exits", "interrupts of the host"),
    ("signal_exits", "signals of the host"),
    ("tlb_flush", "flushes of translations"),
];

fn table(statistics: &Statistics) -> Result<String, fmt::Error> {
    let mut text = String::new();
    writeln!(text, "\n{:<20} {:>10} {:>12} {:>12}", "exit", "count", "total", "median")?;
    let mut exits: Vec<_> = statistics.exits.iter().collect();
    exits.sort_by_key(|(_, exit)| std::cmp::Reverse(exit.total_ns));
    for (reason, exit) in &exits {
        let (total, median) = (time(exit.total_ns), time(exit.median_ns));
        writeln!(text, "{reason:<20} {:>10} {total:>12} {median:>12}", exit.count)?;
    }
    let count: u64 = exits.iter().map(|(_, exit)| exit.count).sum();
    let total: u64 = exits.iter().map(|(_, exit)| exit.total_ns).sum();
    writeln!(text, "{:<20} {count:>10} {:>12}   of {}", "in all", time(total), time(statistics.run_ns))?;
    match &statistics.host {
        Some(counters) => host_table(&mut text, counters)?,
        None => writeln!(text, "\nThe host does not say what it counts (KVM of Linux 5.14 and newer does).")?,
    }
    Ok(text)
}

fn host_table(text: &mut String, counters: &Counters) -> fmt::Result {
    writeln!(text, "\n{:<20} {:>10}", "host itself", "count")?;
    for (name, words) in HOST_COUNTERS {
        let count = counters.values().find_map(|counters| counters.get(*name));
        if let Some(count) = count.filter(|count| **count > 0) {
            writeln!(text, "{name:<20} {count:>10}   {words}")?;
        }
    }
    Ok(())
}

/// A time in the unit that gives it one to three digits before the point.
fn time(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_shown_in_fitting_units() {
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_500), "1.5 µs");
        assert_eq!(time(2_340_000), "2.3 ms");
        assert_eq!(time(61_000_000_000), "61.00 s");
    }
}
