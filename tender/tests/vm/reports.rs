//! What the command says of a guest that crashed, however the image was built.

use crate::support::{example, no_kvm, output, run, stderr, variant};
use std::path::{Path, PathBuf};

/// The report of the example `crash`, which is told how to.
fn report(options: &[&str], image: PathBuf, way: &str) -> String {
    stderr(&output(run(options, image, &[way])))
}

/// The numbered frames of a report: the first line of each, without its number.
fn frames(report: &str) -> Vec<&str> {
    let numbered = report.lines().filter_map(|line| line.trim_start().split_once(": "));
    numbered.filter(|(number, _)| number.parse::<u32>().is_ok()).map(|(_, frame)| frame).collect()
}

/// Asserts that these functions are among the frames, one after the other.
#[track_caller]
fn assert_called(report: &str, functions: &[&str]) {
    let mut frames = frames(report).into_iter();
    for function in functions {
        assert!(frames.any(|frame| frame.starts_with(function)), "{function} in\n{report}");
    }
}

/// The line of the example's source that holds `text`.
fn line_of(text: &str) -> usize {
    let source = include_str!("../../../examples/crash/src/main.rs");
    source.lines().position(|line| line.contains(text)).expect("the example has such a line") + 1
}

const CALLS: [&str; 5] = ["crash::third", "crash::second", "crash::first", "crash::nested", "crash::main"];

#[test]
fn a_dev_build_is_told_by_functions_files_and_lines() {
    if no_kvm() {
        return;
    }
    let report = report(&[], example("debug", "crash"), "nested");
    assert!(report.starts_with("coracle: guest crashed: write to 0x10, a null pointer plus 16 bytes\n"));
    assert_called(&report, &CALLS);
    assert!(report.contains("core::ptr::write_volatile"), "inlined frames\n{report}");
    let line = line_of("as *mut u64).write_volatile(1)");
    let place = format!("crash::null_write\n             at crash/src/main.rs:{line}:");
    assert!(report.contains(&place), "{place} in\n{report}");
}

#[test]
fn a_release_build_is_told_by_functions() {
    if no_kvm() {
        return;
    }
    let report = report(&[], example("release", "crash"), "nested");
    assert_called(&report, &CALLS);
    assert!(!report.contains("main.rs:"), "{report}");
}

#[test]
fn a_release_build_with_line_tables_is_told_by_lines_too() {
    if no_kvm() {
        return;
    }
    let report = report(&[], variant("crash-with-lines"), "nested");
    assert!(report.contains("at crash/src/main.rs:"), "{report}");
    assert!(report.contains("nested"), "{report}");
}

#[test]
fn a_stripped_build_is_told_by_offsets_and_says_where_names_would_come_from() {
    if no_kvm() {
        return;
    }
    let report = report(&[], example("stripped", "crash"), "nested");
    let frames = frames(&report);
    assert!(frames.len() > 5 && frames.iter().all(|frame| frame.starts_with("image+0x")), "{report}");
    assert!(report.contains("build id") && report.contains("--symbols FILE"), "{report}");
}

#[test]
fn a_stripped_build_gets_its_names_from_its_twin() {
    if no_kvm() {
        return;
    }
    let twin = example("release", "crash");
    let options = ["--symbols", path(&twin)];
    assert_called(&report(&options, example("stripped", "crash"), "nested"), &CALLS);
}

#[test]
fn names_are_not_taken_from_another_build() {
    if no_kvm() {
        return;
    }
    let other = example("release", "hello");
    let options = ["--symbols", path(&other)];
    let report = report(&options, example("stripped", "crash"), "nested");
    assert!(report.contains("it is not the same build"), "{report}");
    assert!(frames(&report).iter().all(|frame| frame.starts_with("image+0x")), "{report}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

#[test]
fn a_panic_is_told_with_its_message_its_line_and_who_called() {
    if no_kvm() {
        return;
    }
    let report = report(&[], example("debug", "crash"), "panic");
    let line = line_of("this is what a panic's message looks like");
    let first = format!("coracle: guest panicked at crash/src/main.rs:{line}:");
    assert!(report.starts_with(&first), "{report}");
    assert!(report.contains("\nthis is what a panic's message looks like\n"), "{report}");
    assert_called(&report, &["crash::panic", "crash::main"]);
}

/// What the headline says of each way to crash.
const HEADLINES: [(&str, &str); 13] = [
    ("null-read", "read from 0x10, a null pointer plus 16 bytes"),
    ("null-write", "write to 0x10, a null pointer plus 16 bytes"),
    ("write-constant", "which is read-only (image, constants)"),
    ("write-code", "which is read-only (image, code)"),
    ("execute-data", "which is not executable (image, data)"),
    ("execute-stack", "which is not executable (the stack)"),
    ("jump-unmapped", "jump to 0xdead0000, which is not mapped"),
    ("stack-overflow", "stack overflow: write to "),
    ("illegal-instruction", "the program stopped itself (ud2"),
    ("privileged", "hlt, an instruction that a guest may not execute"),
    ("syscall", "system call 39 (syscall): a Coracle guest has no Linux underneath"),
    ("division", "division by zero, or a quotient that does not fit"),
    ("breakpoint", "breakpoint"),
];

#[test]
fn every_way_to_crash_is_told_in_its_own_words() {
    if no_kvm() {
        return;
    }
    for (way, words) in HEADLINES {
        let report = report(&[], example("release", "crash"), way);
        let headline = report.lines().next().unwrap_or_default();
        assert!(headline.contains(words), "{way}: {headline}");
        assert_called(&report, &["crash::main"]);
    }
}

#[test]
fn quiet_leaves_the_report_out() {
    if no_kvm() {
        return;
    }
    assert_eq!(report(&["--quiet"], example("release", "crash"), "null-read"), "");
}
