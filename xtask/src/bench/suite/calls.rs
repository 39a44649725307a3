//! What it costs to call the tender.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, printed_number};
use crate::bench::programs::Programs;
use crate::here::Backend;

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (3, 1000) } else { (31, 5000) };
    let mut calls = Experiment::new("call", turns);

    let indirection = calls.subject("call and return", Unit::Nanoseconds, || {
        printed_number(programs.in_process("indirection", 10_000_000))
    });
    for &backend in &programs.backends {
        let empty = calls.subject("empty hypercall", Unit::Nanoseconds, move || {
            printed_number(programs.in_guest(backend, &[], "call", count))
        });
        let (name, bare, goal) = match backend {
            Backend::Kvm => ("bare KVM_RUN exit", &programs.bare_kvm, 1.1),
            Backend::Process => ("bare trap through ptrace", &programs.bare_trap, 1.2),
        };
        let bare = calls.subject(name, Unit::Nanoseconds, move || {
            printed_number(command(bare, &["loop", &count.to_string()]))
        });
        calls.row(backend, "empty hypercall", empty, Measure::RatioTo(bare), Goal::AtMost(goal));
        if backend == Backend::Kvm && programs.has_before() {
            let before = calls.subject("the build given", Unit::Nanoseconds, move || {
                printed_number(programs.in_guest_before("call", count))
            });
            calls.row(backend, "empty hypercall", empty, Measure::RatioTo(before), super::AS_BEFORE);
        }
        if backend == Backend::Process {
            calls.row(backend, "empty hypercall", empty, Measure::Value, Goal::AtMost(12_000.0));
        }
        calls.row(backend, "entry page's call and return", indirection, Measure::RatioTo(bare), Goal::None);
    }
    calls
}
