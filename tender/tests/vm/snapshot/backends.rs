//! Snapshots that were taken where guests are run by something else.

use super::calls::{resume, take};
use super::fresh::run;
use crate::scratch::Scratch;
use crate::support::{kvm_host, process_host};
use coracle_tender::snapshot::Snapshot;
use std::sync::Arc;

const MEMORY: u64 = 16 << 20;

#[test]
fn a_snapshot_of_a_vm_runs_in_a_process() {
    let Some(kvm) = kvm_host() else { return };
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    take(&Arc::new(kvm), "fresh", MEMORY).save(&file).expect("the snapshot is saved");
    let snapshot = Snapshot::open(&Arc::new(process_host()), &file).expect("it may move there");
    let mut instance = resume(&Arc::new(snapshot));
    let first = run(&mut instance).passed;
    assert!(run(&mut instance).passed >= first);
}

#[test]
fn a_snapshot_of_a_process_is_refused_in_a_vm_in_words() {
    let Some(kvm) = kvm_host() else { return };
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    take(&Arc::new(process_host()), "fresh", MEMORY).save(&file).expect("the snapshot is saved");
    let refused = Snapshot::open(&Arc::new(kvm), &file).expect_err("it may not move there");
    let words = refused.to_string();
    assert!(words.contains("was taken in a process") && words.contains("--backend process"), "{words}");
}
