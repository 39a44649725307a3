//! A snapshot's file that is cut while it is mapped costs its instances, and nobody else.

use super::calls::{MEMORY, Orders, call, host, places, resume, take};
use super::forging::Parts;
use crate::scratch::Scratch;
use crate::support::no_kvm_for;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use coracle_tender::instance::{End, Instance, Unclean};
use coracle_tender::machine::{Dead, Host};
use coracle_tender::paging::leaves;
use coracle_tender::snapshot::Snapshot;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// What a process does otherwise.
const WHAT: &str = "a process has copies of the pages of a snapshot file";

/// A snapshot that was opened, its file, and what else runs beside it.
struct Bed {
    host: Arc<Host>,
    snapshot: Arc<Snapshot>,
    beside: Arc<Snapshot>,
    file: PathBuf,
    _scratch: Scratch,
}

impl Bed {
    fn new() -> Bed {
        let (host, scratch) = (host(), Scratch::new());
        let file = scratch.path().join("snapshot");
        let beside = take(&host, "traces", MEMORY);
        beside.save(&file).expect("it is saved");
        let snapshot = Arc::new(Snapshot::open(&host, &file).expect("a good snapshot"));
        Bed { host, snapshot, beside, file, _scratch: scratch }
    }

    fn cut_to(&self, length: u64) {
        let file = File::options().write(true).open(&self.file).expect("the file");
        file.set_len(length).expect("it is cut");
    }

    /// Cuts off the guest's memory from so far in its block on, and gives the first address of what is gone.
    fn cut_block(&self, instance: &mut Instance, offset: u64) -> u64 {
        let gone = places(instance).block + offset;
        let memory = instance.guest().memory();
        let leaves = leaves(&memory, instance.page_table_root()).expect("sound tables");
        let found = leaves.iter().find_map(|leaf| {
            let within = gone.checked_sub(leaf.address).filter(|within| *within < leaf.size)?;
            leaf.translation.user.then_some(leaf.translation.physical + within)
        });
        let header = Parts::read(&self.file).header;
        self.cut_to(header.data_offset + found.expect("the page is mapped"));
        gone
    }

    /// The process goes on, and so do other snapshots.
    fn all_else_goes_on(&self) {
        let mut instance = resume(&self.beside);
        places(&mut instance);
        assert!(Snapshot::open(&self.host, &self.file).is_err(), "a file that was cut is not opened");
    }
}

/// Places in the guest's block: 100 pages before the end of what is not zero, and within what is zero, a
/// hole of the file.
const CUTS: [u64; 2] = [2 * LARGE_PAGE - 100 * PAGE, 4 * LARGE_PAGE];

/// Checks an instance after each of the cuts, told where what is gone was in the guest, and that all else goes
/// on.
fn after_each_cut(check: impl Fn(&mut Instance, u64)) {
    if no_kvm_for(WHAT) {
        return;
    }
    for cut in CUTS {
        let bed = Bed::new();
        let mut instance = resume(&bed.snapshot);
        let gone = bed.cut_block(&mut instance, cut);
        check(&mut instance, gone);
        bed.all_else_goes_on();
    }
}

#[test]
fn a_guest_that_reads_what_was_cut_off_is_dead() {
    after_each_cut(|instance, gone| {
        let answer = Orders::new().read(gone).call(instance);
        assert!(matches!(answer.end, End::Dead(Dead::HostMemory)), "{:?}", answer.end);
    });
}

#[test]
fn a_guest_that_writes_what_was_cut_off_is_dead() {
    after_each_cut(|instance, gone| {
        let answer = Orders::new().fill(gone, PAGE, 1).call(instance);
        assert!(matches!(answer.end, End::Dead(Dead::HostMemory)), "{:?}", answer.end);
    });
}

#[test]
fn a_call_that_points_to_what_was_cut_off_is_refused() {
    after_each_cut(|instance, gone| {
        let answer = Orders::new().output(gone, 3 * PAGE).call(instance);
        assert_eq!(answer.words(), [CallError::BadAddress.to_result() as u64]);
    });
}

#[test]
fn an_instance_whose_whole_memory_was_cut_off_cannot_be_called() {
    if no_kvm_for(WHAT) {
        return;
    }
    let bed = Bed::new();
    let mut instance = resume(&bed.snapshot);
    bed.cut_to(PAGE);
    let answer = call(&mut instance, &[0; 8]);
    assert!(matches!(answer.end, End::Dead(_)), "{:?}", answer.end);
    // Nothing was written that could not be copied back.
    if instance.reset().is_ok() {
        assert!(matches!(call(&mut instance, &[0; 8]).end, End::Dead(_)));
    }
    // Making one more may work: it is as dead.
    if let Ok(mut other) = Instance::resume(&bed.snapshot) {
        assert!(matches!(call(&mut other, &[0; 8]).end, End::Dead(_)));
    }
    bed.all_else_goes_on();
}

#[test]
fn an_instance_whose_file_was_cut_after_its_call_is_unclean() {
    if no_kvm_for(WHAT) {
        return;
    }
    let bed = Bed::new();
    let mut instance = resume(&bed.snapshot);
    let block = places(&mut instance).block;
    Orders::new().fill(block + 5 * PAGE, 300 * PAGE, 1).call(&mut instance).words();
    bed.cut_to(PAGE);
    let result = instance.reset();
    assert!(matches!(result, Err(Unclean::Memory(_) | Unclean::Read(_))), "{result:?}");
    bed.all_else_goes_on();
}

#[test]
fn saving_a_snapshot_whose_file_was_cut_is_an_error() {
    if no_kvm_for(WHAT) {
        return;
    }
    let bed = Bed::new();
    bed.cut_to(5 * PAGE);
    let other = bed.file.with_extension("again");
    bed.snapshot.save(&other).expect_err("it cannot be read");
    assert!(!other.exists());
    assert!(bed.snapshot.image().is_none(), "its image is gone");
    bed.all_else_goes_on();
}
