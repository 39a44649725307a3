//! What it costs to call the tender.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, printed_number};
use crate::bench::programs::Programs;

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (3, 1000) } else { (31, 5000) };
    let mut calls = Experiment::new("call", turns);

    let empty = calls.subject("empty hypercall", Unit::Nanoseconds, move || {
        printed_number(programs.in_guest(&[], "call", count))
    });
    let exit = calls.subject("bare KVM_RUN exit", Unit::Nanoseconds, move || {
        printed_number(command(&programs.bare_kvm, &["loop", &count.to_string()]))
    });
    let indirection = calls.subject("call and return", Unit::Nanoseconds, || {
        printed_number(programs.in_process("indirection", 10_000_000))
    });

    calls.row("empty hypercall", empty, Measure::RatioTo(exit), Goal::AtMost(1.1));
    calls.row("entry page's call and return", indirection, Measure::RatioTo(exit), Goal::None);
    calls
}
