//! Many VMs at once.

#[path = "../guests/src/random.rs"]
#[expect(dead_code, unreachable_pub, reason = "it belongs to the guests, some of which need all of it")]
mod random;

use crate::holdings::{Holdings, threads};
use crate::lane::times;
use crate::library::{Machine, alone};
use crate::support::{guest, no_kvm, run};
use coracle_tender::instance::End;
use random::Random;
use std::process::Stdio;
use std::sync::Barrier;

fn many() -> u64 {
    times(200, 20).into()
}

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
        let (machine, many) = (Machine::open(guest("sum")), many());
        let threads = threads();
        // What the process keeps from its first threads and its first VM, it keeps once.
        at_once(&machine, many);
        let before = Holdings::with_threads(threads);
        at_once(&machine, many);
        Holdings::with_threads(threads).expect_no_more_than(&before);
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

#[test]
fn two_hundred_vms_of_as_many_processes_each_give_their_answer() {
    if no_kvm() {
        return;
    }
    let start = |seed: u64| {
        let mut command = run(&[], guest("sum"), &[seed.to_string()]);
        command.stdout(Stdio::piped()).spawn().expect("coracle starts")
    };
    let running: Vec<_> = (0..many()).map(|seed| (seed, start(seed))).collect();
    for (seed, child) in running {
        let output = child.wait_with_output().expect("coracle ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stdout), sum(seed));
    }
}
