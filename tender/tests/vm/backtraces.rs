//! What is printed of the way to where a guest crashed.

use crate::support::{example, no_kvm, output, run, stderr};

/// The names and places of the frames that are printed when the example crashes so.
fn trace(profile: &str, way: &str) -> Vec<String> {
    let text = stderr(&output(run(&[], example(profile, "crash"), &[way])));
    let first = text.lines().position(|line| line.starts_with("   0: ")).unwrap_or_else(|| panic!("{text}"));
    text.lines().skip(first).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_panics_trace_begins_at_the_function_that_panicked() {
    if no_kvm() {
        return;
    }
    for way in ["panic", "index", "overflow"] {
        let lines = trace("debug", way);
        assert_eq!(lines[0], format!("0: crash::{way}"), "{lines:?}");
        assert!(lines[1].starts_with("at crash/src/main.rs:"), "{lines:?}");
        assert!(lines[2].starts_with("1: crash::"), "{lines:?}");
    }
    assert!(trace("release", "panic")[0].starts_with("0: crash::"));
}

#[test]
fn every_path_in_a_trace_begins_with_the_folder_of_its_crate() {
    if no_kvm() {
        return;
    }
    for way in ["panic", "null-read", "unwrap"] {
        let lines = trace("debug", way);
        let paths: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("at ")).collect();
        let known = |path: &&str| {
            ["crash/src/", "libos/src/", "library/"].iter().any(|start| path.starts_with(start))
        };
        assert!(
            paths.iter().all(known) && paths.iter().any(|path| path.starts_with("libos/src/")),
            "{lines:?}"
        );
    }
}
