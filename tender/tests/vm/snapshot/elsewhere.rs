//! A snapshot's file is run by other processes than the one that took it.

use super::calls::{host, resume, take};
use super::fresh::run;
use crate::scratch::Scratch;
use crate::support::no_kvm;
use coracle_tender::machine::Host;
use coracle_tender::snapshot::Snapshot;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Names the file to the other process.
const FILE: &str = "CORACLE_TEST_SNAPSHOT";

/// In the other process: the file that the test is about.
fn file_of_other() -> Option<PathBuf> {
    std::env::var_os(FILE).map(PathBuf::from)
}

/// Runs a test, which calls this, in another process too, and waits for its end.
fn in_another_process(test: &str, file: &Path) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).env(FILE, file);
    let output = command.output().expect("this program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "there is no test {test}");
}

fn take_and_save(host: &Arc<Host>, file: &Path) {
    take(host, "fresh", 16 << 20).save(file).expect("the snapshot is saved");
}

/// Opens a file and runs what is in it.
fn open_and_run(file: &Path) -> Duration {
    let snapshot = Snapshot::open(&host(), file).expect("a good snapshot");
    let mut instance = resume(&Arc::new(snapshot));
    let first = run(&mut instance).passed;
    let second = run(&mut instance).passed;
    assert!(second >= first);
    first
}

#[test]
fn a_snapshot_that_was_saved_runs_in_another_process() {
    if no_kvm() {
        return;
    }
    if let Some(file) = file_of_other() {
        open_and_run(&file);
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    take_and_save(&host(), &file);
    in_another_process("snapshot::elsewhere::a_snapshot_that_was_saved_runs_in_another_process", &file);
    open_and_run(&file);
}

#[test]
fn a_snapshot_runs_when_the_process_that_took_it_has_gone() {
    if no_kvm() {
        return;
    }
    if let Some(file) = file_of_other() {
        return take_and_save(&host(), &file);
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    in_another_process("snapshot::elsewhere::a_snapshot_runs_when_the_process_that_took_it_has_gone", &file);
    open_and_run(&file);
}

#[test]
fn a_snapshot_in_memory_does_not_need_its_file() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let (file, host) = (scratch.path().join("snapshot"), host());
    take_and_save(&host, &file);
    let snapshot = Snapshot::open(&host, &file).expect("a good snapshot").into_memory();
    let snapshot = Arc::new(snapshot.expect("the snapshot is copied"));
    std::fs::File::options().write(true).open(&file).and_then(|file| file.set_len(0)).expect("it is cut");
    let mut instance = resume(&snapshot);
    run(&mut instance);
    run(&mut instance);
    assert!(snapshot.image().is_some(), "its image is there");
}

#[test]
fn a_saved_snapshot_is_sound_and_the_same_when_it_is_saved_again() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let (host, file, again) = (host(), scratch.path().join("one"), scratch.path().join("two"));
    take_and_save(&host, &file);
    Snapshot::verify(&file, |_, _| {}).expect("a sound file");
    Snapshot::open(&host, &file).expect("a good snapshot").save(&again).expect("it is saved again");
    let [one, two] = [file, again].map(|file| std::fs::read(file).expect("a file"));
    assert!(one == two);
}
