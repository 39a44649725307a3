//! Images that were linked in other ways than cargo does by itself.

use crate::support::{no_kvm, output, run, stderr, stdout, variant};

/// Says hello with an image linked in this way.
fn boots(name: &str) {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], variant(name), &[]));
    assert_eq!(stdout(&ended), "Hello from a virtual machine of my own!\n", "{}", stderr(&ended));
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn a_program_at_fixed_addresses_boots() {
    boots("fixed");
}

#[test]
fn a_static_program_at_fixed_addresses_boots() {
    boots("fixed-static");
}

#[test]
fn a_static_position_independent_program_boots() {
    boots("static-pie");
}

#[test]
fn a_program_linked_by_gnu_ld_boots() {
    boots("gnu-ld");
}

#[test]
fn a_program_for_the_target_of_its_own_boots() {
    if !variant("target-spec").exists() {
        eprintln!("NOT RUN: no toolchain with core's sources was at hand to build it");
        return;
    }
    boots("target-spec");
}
