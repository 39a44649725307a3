//! What a call in a clean instance costs.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{command, printed_number, start_to_reaped};
use crate::bench::programs::Programs;
use crate::here::Backend;
use crate::paths;

pub(super) fn experiments(programs: &Programs, quick: bool) -> Vec<Experiment<'_>> {
    let mut all = vec![clean_call(programs, quick), settled(programs, quick), new_instance(programs, quick)];
    all.push(run_snapshot(programs, quick));
    if programs.backends.contains(&Backend::Kvm) {
        all.extend([idle_memory(programs, quick), many_live(programs, quick)]);
    }
    all
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
    let process = clean.subject("posix_spawn and wait", Unit::Nanoseconds, move || {
        start_to_reaped(command(&programs.true_static, &[]))
    });
    for (pages, what) in SIZES {
        let mut kvm = None;
        for &backend in &programs.backends {
            let ours = clean.subject("pool.call", Unit::Nanoseconds, move || {
                printed_number(programs.call(backend, "call", &[pages, count]))
            });
            match (backend, kvm) {
                (Backend::Kvm, _) => {
                    let bare = clean.subject("bare KVM loop with copy-back", Unit::Nanoseconds, move || {
                        let numbers = [pages.to_string(), count.to_string()];
                        printed_number(command(&programs.bare_kvm, &["call", &numbers[0], &numbers[1]]))
                    });
                    clean.row(backend, what, ours, Measure::RatioTo(bare), Goal::AtMost(1.25));
                    if pages == 64 && programs.has_before() {
                        let before = clean.subject("the build given", Unit::Nanoseconds, move || {
                            printed_number(programs.call_before("call", &[pages, count]))
                        });
                        clean.row(backend, what, ours, Measure::RatioTo(before), super::AS_BEFORE);
                    }
                    kvm = Some(ours);
                }
                (Backend::Process, Some(kvm)) => {
                    let goal = if pages == 64 { Goal::AtMost(2.0) } else { Goal::None };
                    clean.row(backend, what, ours, Measure::RatioTo(kvm), goal);
                }
                (Backend::Process, None) => clean.row(backend, what, ours, Measure::Value, Goal::None),
            }
            if pages == 64 {
                let goal = match backend {
                    Backend::Kvm => Goal::AtMost(0.125),
                    Backend::Process => Goal::None,
                };
                let against = "the same against an empty process";
                clean.row(backend, against, ours, Measure::RatioTo(process), goal);
                let elsewhere = clean.subject("call_async", Unit::Nanoseconds, move || {
                    printed_number(programs.call(backend, "async", &[pages, count]))
                });
                let from = "the same from another thread";
                clean.row(backend, from, elsewhere, Measure::RatioTo(ours), Goal::None);
            }
        }
    }
    clean
}

fn settled(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut settled = Experiment::new("settled", if quick { 3 } else { 15 });
    for &backend in &programs.backends {
        let after = settled.subject("ten calls after 1,000 pages", Unit::Nanoseconds, move || {
            printed_number(programs.call(backend, "after", &[64]))
        });
        let before = settled.subject("before", Unit::Nanoseconds, move || {
            printed_number(programs.call(backend, "call", &[64, 200]))
        });
        let what = "call, ten calls after one of 1,000 pages";
        settled.row(backend, what, after, Measure::RatioTo(before), Goal::AtMost(1.1));
    }
    settled
}

fn new_instance(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (3, 10) } else { (15, 40) };
    let mut new = Experiment::new("new-instance", turns);
    let process = new.subject("posix_spawn and wait", Unit::Nanoseconds, move || {
        start_to_reaped(command(&programs.true_static, &[]))
    });
    for &backend in &programs.backends {
        let ours = new.subject("instance of a snapshot", Unit::Nanoseconds, move || {
            printed_number(programs.call(backend, "new", &[1, count]))
        });
        if backend == Backend::Kvm {
            let bare = new.subject("its KVM calls alone", Unit::Nanoseconds, move || {
                printed_number(command(&programs.bare_kvm, &["new", "1", &count.to_string()]))
            });
            let what = "new instance with its first call";
            new.row(backend, what, ours, Measure::RatioTo(bare), Goal::AtMost(1.3));
        }
        let beside = "new instance and call beside an empty process";
        new.row(backend, beside, ours, Measure::RatioTo(process), Goal::None);
    }
    new
}

fn run_snapshot(programs: &Programs, quick: bool) -> Experiment<'_> {
    let mut run = Experiment::new("run-snapshot", if quick { 3 } else { 15 });
    for &backend in &programs.backends {
        let file = paths::target().join(format!("yardsticks/slow-start.{}.snapshot", backend.name()));
        let taken = std::cell::OnceCell::new();
        let resumed = run.subject("coracle run FILE", Unit::Nanoseconds, move || {
            if taken.get().is_none() {
                programs.snapshot(backend, &programs.slow_start, &file)?;
                let _ = taken.set(());
            }
            start_to_reaped(programs.boot(backend, &[], &file, &[]))
        });
        let booted = run.subject("coracle run IMAGE", Unit::Nanoseconds, move || {
            start_to_reaped(programs.boot(backend, &[], &programs.slow_start, &[]))
        });
        let what = "run of a snapshot past 50 ms of start";
        run.row(backend, what, resumed, Measure::RatioTo(booted), Goal::AtMost(0.1));
    }
    run
}

fn idle_memory(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, count) = if quick { (1, 50) } else { (3, 1000) };
    let mut idle = Experiment::new("idle-memory", turns);
    let ours = idle.subject("instance", Unit::Bytes, move || {
        printed_number(programs.call(Backend::Kvm, "idle", &[count]))
    });
    let bare = idle.subject("bare KVM program, same slot", Unit::Bytes, move || {
        printed_number(command(&programs.bare_kvm, &["idle", &count.to_string()]))
    });
    idle.row(
        Backend::Kvm,
        "memory of an instance that waits",
        ours,
        Measure::RatioTo(bare),
        Goal::AtMost(1.15),
    );
    idle
}

fn many_live(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, many) = if quick { (1, 50) } else { (5, 1000) };
    let mut live = Experiment::new("many-live", turns);
    let mut subject = |name, what, count| {
        live.subject(name, Unit::Nanoseconds, move || {
            printed_number(programs.call(Backend::Kvm, what, &[64, count]))
        })
    };
    let one = subject("1 instance", "live", 1);
    let hundred = subject("100 instances", "live", many / 10);
    let thousand = subject("1,000 instances", "live", many);
    let new = subject("new, 1 instance", "more", 1);
    let more = subject("new, 1,000 instances", "more", many);
    for (what, with_many, with_one, goal) in [
        ("call while 100 instances live", hundred, one, 1.15),
        ("call while 1,000 instances live", thousand, one, 1.15),
        ("new instance and first call, 1,000 live", more, new, 1.5),
    ] {
        live.row(Backend::Kvm, what, with_many, Measure::RatioTo(with_one), Goal::AtMost(goal));
    }
    live
}
