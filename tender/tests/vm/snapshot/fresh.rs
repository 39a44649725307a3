//! What is to be fresh in each run: identity, seed, random bytes, clocks.

use super::calls::{call, host, resume, take};
use crate::support::no_kvm;
use coracle_tender::instance::Instance;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the guest `fresh` tells of one run.
#[derive(Debug)]
pub(super) struct Run {
    identity: Vec<u8>,
    seed: Vec<u8>,
    random: Vec<u8>,
    /// The time on its clock since before it was ready.
    pub(super) passed: Duration,
    wall: Duration,
}

/// Calls an instance of it, and cleans it.
pub(super) fn run(instance: &mut Instance) -> Run {
    let bytes = call(instance, &[]).bytes();
    instance.reset().expect("the instance can be used again");
    let (identity, rest) = bytes.split_at(16);
    let (seed, rest) = rest.split_at(32);
    let (random, rest) = rest.split_at(16);
    let [passed, wall] = [&rest[..8], &rest[8..]]
        .map(|bytes| Duration::from_nanos(u64::from_le_bytes(bytes.try_into().expect("eight bytes"))));
    Run { identity: identity.to_vec(), seed: seed.to_vec(), random: random.to_vec(), passed, wall }
}

#[test]
fn identity_seed_and_random_bytes_are_others_in_each_call_of_each_instance() {
    if no_kvm() {
        return;
    }
    const CALLS: usize = 200;
    let snapshot = take(&host(), "fresh", 16 << 20);
    let mut instances: Vec<Instance> = (0..3).map(|_| resume(&snapshot)).collect();
    let runs: Vec<Run> = instances.iter_mut().flat_map(|one| (0..CALLS).map(|_| run(one))).collect();
    let count = |part: fn(&Run) -> &Vec<u8>| runs.iter().map(part).collect::<HashSet<_>>().len();
    assert_eq!(count(|run| &run.identity), 3 * CALLS);
    assert_eq!(count(|run| &run.seed), 3 * CALLS);
    assert_eq!(count(|run| &run.random), 3 * CALLS);
}

/// A guest's clock and the host's are read one after the other, as far apart as a busy host makes them.
const SLACK: Duration = Duration::from_millis(50);

#[test]
fn the_wall_clock_has_the_time_that_it_is_in_each_call() {
    if no_kvm() {
        return;
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let snapshot = take(&host(), "fresh", 16 << 20);
    let mut instance = resume(&snapshot);
    for _ in 0..100 {
        let before = now();
        let wall = run(&mut instance).wall;
        assert!(wall + SLACK >= before && wall <= now() + SLACK, "{before:?}, {wall:?}, {:?}", now());
    }
}

#[test]
fn monotonic_time_goes_on_from_call_to_call_and_instance_to_instance() {
    if no_kvm() {
        return;
    }
    let snapshot = take(&host(), "fresh", 16 << 20);
    let mut instances = [resume(&snapshot), resume(&snapshot)];
    let (begin, first) = (Instant::now(), run(&mut instances[0]).passed);
    // It was read somewhere within this time.
    let took = begin.elapsed();
    let mut round = 0;
    while begin.elapsed() < took + 6 * SLACK {
        round += 1;
        let before = begin.elapsed();
        let passed = run(&mut instances[round % 2]).passed;
        let (earliest, latest) = (first + before.saturating_sub(took), first + begin.elapsed());
        assert!(
            passed + SLACK >= earliest && passed <= latest + SLACK,
            "{earliest:?} to {latest:?}, but {passed:?}"
        );
    }
}
