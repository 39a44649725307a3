//! What instances take of a process's limit on descriptors.

use super::calls::{Orders, host, places, resume, traces};
use crate::holdings::{descriptors, watching};
use crate::library::alone;
use crate::support::{is_process, no_kvm, no_watching};
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::Instance;

const INSTANCES: u64 = 12;

/// An instance that is clean after calls that have written.
fn used(make: impl FnOnce() -> Instance) -> Instance {
    let mut instance = make();
    let block = places(&mut instance).block;
    for round in 0..2 {
        Orders::new().fill(block + 2 * PAGE, 40 * PAGE, round).call_and_reset(&mut instance).words();
    }
    instance
}

#[test]
fn idle_instances_take_as_many_descriptors_as_the_host_says() {
    if no_kvm() || is_process() && no_watching() {
        return;
    }
    alone("snapshot::descriptors::idle_instances_take_as_many_descriptors_as_the_host_says", || {
        let snapshot = traces();
        let open = || (descriptors() + watching()) as u64;
        drop(used(|| resume(&snapshot)));
        let before = open();
        let instances: Vec<_> = (0..INSTANCES).map(|_| used(|| resume(&snapshot))).collect();
        assert_eq!(open() - before, INSTANCES * host().descriptors_per_instance());
        drop(instances);
        assert_eq!(open(), before);
    });
}
