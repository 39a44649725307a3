//! Instances of one snapshot share its memory and see nothing of each other.

use super::calls::{BLOCK, Orders, places, resume, traces};
use crate::support::no_kvm;
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::Instance;

/// How many pages of its own an instance has, as the host counts them.
pub(super) fn private_pages(instance: &Instance) -> u64 {
    let memory = instance.guest().memory();
    let range = memory.host_address()..memory.host_address() + memory.size();
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut kib = 0;
    let mut inside = false;
    for line in smaps.lines() {
        let first = line.split(['-', ' ']).next().unwrap_or_default();
        if let (Ok(start), true) = (u64::from_str_radix(first, 16), line.contains(" r")) {
            inside = range.contains(&start);
        } else if let (true, Some(rest)) = (inside, line.strip_prefix("Anonymous:")) {
            kib += rest.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        }
    }
    kib * 1024 / PAGE
}

#[test]
fn two_instances_do_not_see_what_the_other_writes() {
    if no_kvm() {
        return;
    }
    let snapshot = traces();
    let (mut one, mut other) = (resume(&snapshot), resume(&snapshot));
    let place = places(&mut one);
    // Pages that are zero, that are not, and static memory.
    let ranges = [(place.block + 3 * PAGE, PAGE), (place.block + BLOCK - PAGE, PAGE), (place.constants, 64)];
    let value = 0x0123_1234_2345_3456;
    let fill = ranges.iter().fold(Orders::new(), |orders, (at, length)| orders.fill(*at, *length, value));
    let look = ranges.iter().fold(Orders::new(), |orders, (at, length)| orders.search(value, *at, *length));
    let nothing = [0; 6];
    assert_eq!(look.call_and_reset(&mut other).words(), nothing);
    fill.call(&mut one).words();
    assert_eq!(look.call_and_reset(&mut other).words(), nothing);
    assert_eq!(look.call(&mut resume(&snapshot)).words(), nothing, "one that is made after the write");
    one.reset().expect("the instance can be used again");
    assert_eq!(look.call(&mut one).words(), nothing);
}

#[test]
fn instances_share_the_pages_that_they_do_not_write() {
    if no_kvm() {
        return;
    }
    let snapshot = traces();
    let shared = snapshot.shared() / PAGE;
    assert!(shared > 500, "the guest has written {shared} pages before it was ready");
    let mut instances: Vec<Instance> = (0..8).map(|_| resume(&snapshot)).collect();
    for instance in &mut instances {
        let block = places(instance).block;
        // All of it is read, and nothing is found.
        assert_eq!(Orders::new().search(1 << 63, block, BLOCK).call(instance).words(), [0, 0]);
        assert!(private_pages(instance) < shared / 4, "{} of {shared}", private_pages(instance));
    }
}
