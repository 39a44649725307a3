//! How often a program that only computes leaves the guest, by KVM's own count.
//!
//! A host's timer tick interrupts whatever runs and so counts as an exit of any guest. The bare
//! program's guest has nothing but those, so what it shows is the host's own share.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, errors, printed_number};
use crate::bench::programs::Programs;
use crate::here::Backend;
use crate::shell::{Failure, Result};
use serde_json::Value;

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, milliseconds) = if quick { (1, 500) } else { (5, 2000) };
    let mut steady = Experiment::new("steady", turns);

    let guest = steady.subject("guest", Unit::EventsPerSecond, move || {
        // What the start takes is in both counts and not in the difference.
        let short = exits(programs, milliseconds / 4)?;
        let long = exits(programs, milliseconds / 4 + milliseconds)?;
        Ok((long - short) / (milliseconds as f64 / 1000.0))
    });
    let bare = steady.subject("bare guest: the host's ticks", Unit::EventsPerSecond, move || {
        printed_number(command(&programs.bare_kvm, &["spin", &milliseconds.to_string()]))
    });

    // The count itself has no goal: on a host with a tick, the bare guest alone is beyond any that
    // would say something of Coracle.
    steady.row(Backend::Kvm, "exits of a computing guest", guest, Measure::ValueBeside(bare), Goal::None);
    steady.row(
        Backend::Kvm,
        "exits beyond the host's ticks",
        guest,
        Measure::Above(bare),
        Goal::AtMost(50.0),
    );
    steady
}

/// KVM's count of exits when a guest computes for so long.
fn exits(programs: &Programs, milliseconds: u64) -> Result<f64> {
    let report = errors(programs.in_guest(Backend::Kvm, &["--stats=json"], "steady", milliseconds))?;
    let statistics = report.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let exits = statistics.as_ref().and_then(|statistics| statistics["host"]["vcpu"]["exits"].as_f64());
    exits.ok_or_else(|| Failure::new(format!("no host.vcpu.exits in what --stats=json says:\n{report}")))
}
