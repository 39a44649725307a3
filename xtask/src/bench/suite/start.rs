//! How long a whole run of hello takes, from start to reaped.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, start_to_reaped};
use crate::bench::programs::Programs;
use std::path::Path;

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut start = Experiment::new("start", if quick { 20 } else { 300 });
    let hello = start
        .subject("hello", Unit::Nanoseconds, || start_to_reaped(programs.boot(&[], &programs.hello, &[])));
    let free = start.subject("hello, not confined", Unit::Nanoseconds, || {
        start_to_reaped(programs.boot(&["--no-confine"], &programs.hello, &[]))
    });
    let bare = start
        .subject("bare KVM program", Unit::Nanoseconds, || start_to_reaped(command(&programs.bare_kvm, &[])));
    let true_command = start
        .subject("/bin/true", Unit::Nanoseconds, || start_to_reaped(command(Path::new("/bin/true"), &[])));
    let true_static = start.subject("static program", Unit::Nanoseconds, || {
        start_to_reaped(command(&programs.true_static, &[]))
    });

    start.row("hello, start to reaped", hello, Measure::RatioTo(bare), Goal::AtMost(1.25));
    start.row("hello, start to reaped", hello, Measure::RatioTo(true_command), Goal::AtMost(3.3));
    start.row("hello, start to reaped", hello, Measure::RatioTo(true_static), Goal::None);
    start.row("the same, confined", hello, Measure::RatioTo(free), Goal::AtMost(1.1));
    start.row("bare KVM program, the same", bare, Measure::RatioTo(true_command), Goal::None);
    start
}
