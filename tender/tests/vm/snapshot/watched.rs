//! A process finds what a call has written by watching its pages where it has many, or by looking at all of
//! them where the kernel lets it watch none. Both find all of it.

use super::calls::{BLOCK, MEMORY, Orders, places, resume, take};
use super::likeness::first_difference;
use crate::not_run::not_run;
use crate::support::{no_watching, process_host};
use crate::surroundings::forbid;
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::{Instance, Reset};
use std::process::Command;
use std::sync::Arc;

/// Some pages in each kind of place, others in each round: those that were given their values before the guest was
/// ready, and new ones, large pages' too.
fn write_and_reset(instance: &mut Instance, round: u64) -> Reset {
    let place = places(instance);
    let stack = instance.places().stack.start;
    let pages = (0..40).map(|index| 2 + (index * 77 + round * 13) % (BLOCK / PAGE - 2));
    let orders =
        pages.fold(Orders::new(), |orders, page| orders.fill(place.block + page * PAGE, PAGE, !round));
    let orders = orders.fill(stack + (round % 50) * PAGE, PAGE, !round).fill(place.zeros, 64, !round);
    orders.call(instance).words();
    instance.reset().expect("the instance can be used again")
}

/// What an idle call's reset does after many that wrote, each of which left what a fresh instance has.
fn settled() -> Reset {
    let snapshot = take(&Arc::new(process_host()), "traces", MEMORY);
    let fresh = resume(&snapshot);
    let mut instance = resume(&snapshot);
    for round in 0..24 {
        write_and_reset(&mut instance, round);
        assert_eq!(first_difference(&instance, &fresh), None, "after round {round}");
    }
    let idle = |instance: &mut Instance| {
        Orders::new().call(instance).words();
        instance.reset().expect("the instance can be used again")
    };
    let last = (0..12).map(|_| idle(&mut instance)).last();
    assert_eq!(first_difference(&instance, &fresh), None);
    last.expect("some")
}

#[test]
fn what_a_call_in_a_process_writes_is_found_by_watching_its_pages() {
    if no_watching() {
        return;
    }
    let reset = settled();
    assert!(reset.let_go == 0 && reset.copied < 100, "{reset:?}");
}

#[test]
fn what_a_call_in_a_process_writes_is_found_where_its_pages_cannot_be_watched() {
    // The filter is this thread's, and that of the processes that it makes.
    let looking = std::thread::spawn(|| {
        forbid(&[(libc::SYS_userfaultfd, 0, libc::EPERM)]).expect("a filter");
        settled()
    });
    let reset = looking.join().expect("all is found");
    // All pages were looked at.
    assert!(reset.let_go > 200 && reset.copied < 100, "{reset:?}");
}

#[test]
fn what_a_call_in_a_process_writes_is_found_where_proc_tells_of_other_processes_by_its_number() {
    const NAME: &str = "snapshot::watched::what_a_call_in_a_process_writes_is_found_where_proc_tells_of_other_processes_by_its_number";
    const INSIDE: &str = "CORACLE_TEST_OTHER_PROCESSES";
    /// Other processes have the numbers that /proc knows, this program those of a namespace of its own.
    const SURROUND: &str =
        "count=0; while [ $count -lt 200 ]; do sleep 1000 & count=$((count + 1)); done; unshare -pf \"$@\"";
    if std::env::var_os(INSIDE).is_some() {
        settled();
        return;
    }
    let namespace = ["-rpf", "--mount-proc"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        not_run("there is no unshare(1) that makes namespaces of processes");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", SURROUND, "sh"])
        .arg(program)
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "there is no test {NAME}");
}

#[test]
fn a_process_that_is_made_anew_on_another_thread_is_watched_anew() {
    if no_watching() {
        return;
    }
    let snapshot = take(&Arc::new(process_host()), "traces", MEMORY);
    let fresh = resume(&snapshot);
    let mut instance = resume(&snapshot);
    for round in 0..8 {
        // What the last one wrote is found although another thread looks for it.
        std::thread::scope(|scope| {
            let written = scope.spawn(|| {
                (0..4).map(|more| write_and_reset(&mut instance, round + more).copied).sum::<usize>()
            });
            assert!(written.join().expect("all is found") > 0);
        });
        assert_eq!(first_difference(&instance, &fresh), None, "after round {round}");
        let place = places(&mut instance);
        let orders = Orders::new().fill(place.block + 9 * PAGE, 30 * PAGE, round);
        std::thread::scope(|scope| {
            scope.spawn(|| orders.call(&mut instance).words()).join().expect("it responds");
        });
        instance.reset().expect("the instance can be used again");
        assert_eq!(first_difference(&instance, &fresh), None, "after round {round}");
    }
}
