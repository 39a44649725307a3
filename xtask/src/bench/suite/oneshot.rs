//! What a call in a clean instance costs.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, printed_number, start_to_reaped};
use crate::bench::programs::Programs;
use crate::paths;

pub(super) fn experiments(programs: &Programs, quick: bool) -> Vec<Experiment<'_>> {
    vec![
        clean_call(programs, quick),
        settled(programs, quick),
        new_instance(programs, quick),
        run_snapshot(programs, quick),
        idle_memory(programs, quick),
        many_live(programs, quick),
    ]
}

/// The rows of a clean call, by how many pages it dirties.
const SIZES: [(u64, &str); 3] = [
    (1, "call in a clean instance, 1 dirty page"),
    (64, "call in a clean instance, 64 dirty pages"),
    (256, "call in a clean instance, 256 dirty pages"),
];

fn clean_call(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (3, 200) } else { (15, 2000) };
    let mut clean = Experiment::new("clean-call", turns);
    for (pages, what) in SIZES {
        let ours = clean.subject("pool.call", Unit::Nanoseconds, move || {
            printed_number(programs.call("call", &[pages, count]))
        });
        let bare = clean.subject("bare KVM loop with copy-back", Unit::Nanoseconds, move || {
            printed_number(command(&programs.bare_kvm, &["call", &pages.to_string(), &count.to_string()]))
        });
        clean.row(what, ours, Measure::RatioTo(bare), Goal::AtMost(1.25));
        if pages == 64 {
            let process = clean.subject("posix_spawn and wait", Unit::Nanoseconds, move || {
                start_to_reaped(command(&programs.true_static, &[]))
            });
            clean.row(
                "the same against an empty process",
                ours,
                Measure::RatioTo(process),
                Goal::AtMost(0.125),
            );
            let elsewhere = clean.subject("call_async", Unit::Nanoseconds, move || {
                printed_number(programs.call("async", &[pages, count]))
            });
            clean.row("the same from another thread", elsewhere, Measure::RatioTo(ours), Goal::None);
        }
    }
    clean
}

fn settled(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut settled = Experiment::new("settled", if quick { 3 } else { 15 });
    let after = settled.subject("ten calls after 1,000 pages", Unit::Nanoseconds, move || {
        printed_number(programs.call("after", &[64]))
    });
    let before = settled
        .subject("before", Unit::Nanoseconds, move || printed_number(programs.call("call", &[64, 200])));
    settled.row(
        "call, ten calls after one of 1,000 pages",
        after,
        Measure::RatioTo(before),
        Goal::AtMost(1.1),
    );
    settled
}

fn new_instance(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (3, 10) } else { (15, 40) };
    let mut new = Experiment::new("new-instance", turns);
    let ours = new.subject("instance of a snapshot", Unit::Nanoseconds, move || {
        printed_number(programs.call("new", &[1, count]))
    });
    let bare = new.subject("its KVM calls alone", Unit::Nanoseconds, move || {
        printed_number(command(&programs.bare_kvm, &["new", "1", &count.to_string()]))
    });
    let process = new.subject("posix_spawn and wait", Unit::Nanoseconds, move || {
        start_to_reaped(command(&programs.true_static, &[]))
    });
    new.row("new instance with its first call", ours, Measure::RatioTo(bare), Goal::AtMost(1.3));
    new.row("the same beside an empty process", ours, Measure::RatioTo(process), Goal::None);
    new
}

fn run_snapshot(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut run = Experiment::new("run-snapshot", if quick { 3 } else { 15 });
    let file = paths::target().join("yardsticks/slow-start.snapshot");
    let taken = std::cell::OnceCell::new();
    let resumed = {
        let file = file.clone();
        run.subject("coracle run FILE", Unit::Nanoseconds, move || {
            if taken.get().is_none() {
                programs.snapshot(&programs.slow_start, &file)?;
                let _ = taken.set(());
            }
            start_to_reaped(programs.boot(&[], &file, &[]))
        })
    };
    let booted = run.subject("coracle run IMAGE", Unit::Nanoseconds, move || {
        start_to_reaped(programs.boot(&[], &programs.slow_start, &[]))
    });
    run.row("run of a snapshot past 50 ms of start", resumed, Measure::RatioTo(booted), Goal::AtMost(0.1));
    run
}

fn idle_memory(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (1, 50) } else { (3, 1000) };
    let mut idle = Experiment::new("idle-memory", turns);
    let ours = idle.subject("instance", Unit::Bytes, move || printed_number(programs.call("idle", &[count])));
    let bare = idle.subject("bare KVM program, same slot", Unit::Bytes, move || {
        printed_number(command(&programs.bare_kvm, &["idle", &count.to_string()]))
    });
    idle.row("memory of an instance that waits", ours, Measure::RatioTo(bare), Goal::AtMost(1.15));
    idle
}

fn many_live(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, many) = if quick { (1, 50) } else { (5, 1000) };
    let mut live = Experiment::new("many-live", turns);
    let one = live
        .subject("1 instance", Unit::Nanoseconds, move || printed_number(programs.call("live", &[64, 1])));
    let hundred = live.subject("100 instances", Unit::Nanoseconds, move || {
        printed_number(programs.call("live", &[64, many / 10]))
    });
    let thousand = live.subject("1,000 instances", Unit::Nanoseconds, move || {
        printed_number(programs.call("live", &[64, many]))
    });
    live.row("call while 100 instances live", hundred, Measure::RatioTo(one), Goal::AtMost(1.15));
    live.row("call while 1,000 instances live", thousand, Measure::RatioTo(one), Goal::AtMost(1.15));
    let new = live.subject("new, 1 instance", Unit::Nanoseconds, move || {
        printed_number(programs.call("more", &[64, 1]))
    });
    let more = live.subject("new, 1,000 instances", Unit::Nanoseconds, move || {
        printed_number(programs.call("more", &[64, many]))
    });
    live.row("new instance and first call, 1,000 live", more, Measure::RatioTo(new), Goal::AtMost(1.5));
    live
}
