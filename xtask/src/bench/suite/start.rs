//! How long a whole run of hello takes, from start to reaped.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, start_to_reaped};
use crate::bench::programs::Programs;
use crate::here::Backend;
use std::path::Path;

const WHAT: &str = "hello, start to reaped";
const FREE: &str = "hello without confinement, the same";

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut start = Experiment::new("start", if quick { 20 } else { 300 });
    let true_command = start
        .subject("/bin/true", Unit::Nanoseconds, || start_to_reaped(command(Path::new("/bin/true"), &[])));
    let true_static = start.subject("static program", Unit::Nanoseconds, || {
        start_to_reaped(command(&programs.true_static, &[]))
    });
    for &backend in &programs.backends {
        let hello = start.subject("hello", Unit::Nanoseconds, move || {
            start_to_reaped(programs.boot(backend, &[], &programs.hello, &[]))
        });
        let free = start.subject("hello, not confined", Unit::Nanoseconds, move || {
            start_to_reaped(programs.boot(backend, &["--no-confine"], &programs.hello, &[]))
        });
        if backend == Backend::Kvm {
            let bare = start.subject("bare KVM program", Unit::Nanoseconds, || {
                start_to_reaped(command(&programs.bare_kvm, &[]))
            });
            // Neither the bare program nor the builds before there was confinement are confined.
            start.row(backend, FREE, free, Measure::RatioTo(bare), Goal::AtMost(1.25));
            if programs.has_before() {
                let before = start.subject("the build given", Unit::Nanoseconds, || {
                    start_to_reaped(programs.boot_before(&programs.hello, &[]))
                });
                start.row(backend, FREE, free, Measure::RatioTo(before), super::AS_BEFORE);
            }
            start.row(
                backend,
                "bare KVM program, the same",
                bare,
                Measure::RatioTo(true_command),
                Goal::None,
            );
        }
        let goal = match backend {
            Backend::Kvm => 3.3,
            Backend::Process => 2.0,
        };
        start.row(backend, WHAT, hello, Measure::RatioTo(true_command), Goal::AtMost(goal));
        start.row(backend, WHAT, hello, Measure::RatioTo(true_static), Goal::None);
        start.row(backend, "the same, confined", hello, Measure::RatioTo(free), Goal::AtMost(1.1));
    }
    start
}
