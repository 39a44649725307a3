//! What a program does by itself, in a guest and in a process.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::printed_number;
use crate::bench::programs::Programs;
use crate::here::Backend;

/// A workload of the crate `workloads` that is to be about as fast in a guest.
struct Workload {
    name: &'static str,
    what: &'static str,
    size: u64,
    quick: u64,
    turns: usize,
    memory: &'static str,
    process: &'static str,
    /// For a VM of KVM.
    goal: f64,
    /// For a process.
    process_goal: Option<f64>,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "mandelbrot",
        what: "mandelbrot, one point",
        size: 1600,
        quick: 400,
        turns: 15,
        memory: "64M",
        process: "process",
        goal: 1.02,
        process_goal: Some(1.02),
    },
    Workload {
        name: "chase",
        what: "pointer chase over 512 MiB, one step",
        size: 4_000_000,
        quick: 400_000,
        turns: 11,
        memory: "640M",
        process: "process, huge pages",
        goal: 1.1,
        process_goal: None,
    },
    Workload {
        name: "touch",
        what: "first touch of 256 MiB, each MiB",
        size: 256,
        quick: 256,
        turns: 31,
        memory: "384M",
        process: "process, huge pages",
        goal: 1.3,
        process_goal: Some(1.2),
    },
    Workload {
        name: "allocate",
        what: "free and allocate, 20,000 live",
        size: 4_000_000,
        quick: 400_000,
        turns: 15,
        memory: "64M",
        process: "process, glibc",
        goal: 1.1,
        process_goal: None,
    },
    Workload {
        name: "clock",
        what: "clock, one reading",
        size: 4_000_000,
        quick: 400_000,
        turns: 15,
        memory: "64M",
        process: "process, vDSO",
        goal: 2.0,
        process_goal: None,
    },
];

pub(super) fn experiments(programs: &Programs, quick: bool) -> Vec<Experiment<'_>> {
    WORKLOADS.iter().map(|workload| experiment(programs, workload, quick)).collect()
}

fn experiment<'a>(programs: &'a Programs, workload: &Workload, quick: bool) -> Experiment<'a> {
    let Workload { name, memory, .. } = *workload;
    let (turns, size) = if quick { (3, workload.quick) } else { (workload.turns, workload.size) };
    let mut compute = Experiment::new(name, turns);

    let process = compute.subject(workload.process, Unit::Nanoseconds, move || {
        printed_number(programs.in_process(name, size))
    });
    for &backend in &programs.backends {
        let guest = compute.subject("guest", Unit::Nanoseconds, move || {
            printed_number(programs.in_guest(backend, &["--mem", memory], name, size))
        });
        let goal = match backend {
            Backend::Kvm => Some(workload.goal),
            Backend::Process => workload.process_goal,
        };
        let goal = goal.map_or(Goal::None, Goal::AtMost);
        compute.row(backend, workload.what, guest, Measure::RatioTo(process), goal);
    }
    compute
}
