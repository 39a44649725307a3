//! Images that were linked in other ways than cargo does by itself.

use crate::not_run::not_run;
use crate::support::{coracle, no_kvm, output, run, stderr, stdout, variant};
use std::process::Command;

/// Says hello with an image linked in this way.
#[track_caller]
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
fn a_program_with_packed_relocations_boots() {
    boots("packed");
}

#[test]
fn a_program_linked_by_gnu_ld_boots() {
    boots("gnu-ld");
}

#[test]
fn a_program_for_the_target_of_its_own_boots() {
    if !variant("target-spec").exists() {
        not_run("no toolchain with core's sources was at hand to build it");
        return;
    }
    boots("target-spec");
}

/// One that is at fixed addresses and yet names a dynamic linker is not among these: it can be given to
/// `coracle run`, but the dynamic linker crashes before the program's first instruction.
#[test]
fn variants_that_linux_starts_boot_themselves() {
    if no_kvm() {
        return;
    }
    for name in ["fixed-static", "static-pie", "packed", "gnu-ld", "target-spec"] {
        if !variant(name).exists() {
            assert_eq!(name, "target-spec", "a variant that can always be built");
            continue;
        }
        let mut command = Command::new(variant(name));
        command.env("CORACLE", coracle());
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(0), "{name}: {}", stderr(&ended));
        assert_eq!(stdout(&ended), "Hello from a virtual machine of my own!\n", "{name}");
    }
}
