//! Many VMs at once.

#[path = "../guests/src/random.rs"]
#[expect(dead_code, unreachable_pub, reason = "it belongs to the guests, some of which need all of it")]
mod random;

use crate::library::{Machine, alone};
use crate::support::{guest, no_kvm, run};
use coracle_tender::instance::End;
use random::Random;
use std::process::Stdio;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const MANY: u64 = 200;

/// What the guest `sum` prints.
fn sum(seed: u64) -> String {
    let mut random = Random::new(seed);
    let sum = (0..1 << 17).fold(0_u64, |sum, _| sum.rotate_left(1) ^ random.number());
    format!("{sum}\n")
}

#[test]
fn two_hundred_vms_of_one_process_each_give_their_answer_and_leave_nothing_behind() {
    if no_kvm() {
        return;
    }
    let name = "many::two_hundred_vms_of_one_process_each_give_their_answer_and_leave_nothing_behind";
    alone(name, || {
        let machine = Machine::open(guest("sum"));
        let threads = threads();
        // What the process keeps from its first threads and its first VM, it keeps once.
        at_once(&machine, MANY);
        wait_until_gone(threads);
        let before = Holdings::now();
        at_once(&machine, MANY);
        wait_until_gone(threads);
        let after = Holdings::now();
        assert_eq!(before.descriptors, after.descriptors);
        assert!(after.mappings <= before.mappings + 8, "{before:?}, then {after:?}");
        assert!(after.resident_kib <= before.resident_kib + 4096, "{before:?}, then {after:?}");
    });
}

/// Boots so many VMs, runs them all when all are there, and checks their answers.
fn at_once(machine: &Machine, count: u64) {
    let all_there = Barrier::new(count as usize);
    std::thread::scope(|scope| {
        for seed in 0..count {
            let all_there = &all_there;
            scope.spawn(move || {
                let mut instance = machine.boot(&[&seed.to_string()]);
                all_there.wait();
                let (end, output) = machine.run(&mut instance, None);
                assert!(matches!(end, End::Exited(0)), "{end:?}");
                assert_eq!(output, sum(seed));
            });
        }
    });
}

/// How many threads this process has, those of the kernel for its VMs among them.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("threads").count()
}

/// Returns when there are no more threads than these: the kernel takes a thread out of its list a
/// moment after it has ended.
fn wait_until_gone(expected: usize) {
    let begin = Instant::now();
    while threads() > expected {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} threads are left", threads() - expected);
        std::thread::yield_now();
    }
}

/// What this process has of the kernel.
#[derive(Debug)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    resident_kib: u64,
}

impl Holdings {
    fn now() -> Holdings {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        Holdings {
            descriptors: std::fs::read_dir("/proc/self/fd").expect("descriptors").count(),
            mappings: maps.lines().count(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }
}

#[test]
fn two_hundred_vms_of_as_many_processes_each_give_their_answer() {
    if no_kvm() {
        return;
    }
    let start = |seed: u64| {
        let mut command = run(&[], guest("sum"), &[seed.to_string()]);
        command.stdout(Stdio::piped()).spawn().expect("coracle starts")
    };
    let running: Vec<_> = (0..MANY).map(|seed| (seed, start(seed))).collect();
    for (seed, child) in running {
        let output = child.wait_with_output().expect("coracle ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stdout), sum(seed));
    }
}
