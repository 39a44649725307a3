//! How a guest ends by itself.

use crate::lane::times;
use crate::library::Machine;
use crate::not_run::not_run;
use crate::support::{example, guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use coracle_tender::instance::End;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn every_status_that_a_guest_gives_is_the_commands() {
    if no_kvm() {
        return;
    }
    let step = 256 / times(256, 16) as usize;
    for status in (0..=255).step_by(step) {
        let ended = output(run(&[], guest("exit_with"), &[status.to_string()]));
        assert_eq!(ended.status.code(), Some(status));
        assert_eq!(stderr(&ended), "", "status {status}");
    }
}

#[test]
fn a_guest_that_has_made_many_calls_ends_as_any_other() {
    if no_kvm() {
        return;
    }
    let ended = output(run(&[], guest("call_often"), &["log"]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
}

/// The command that tests start is linked statically. Another C library ends a process in another way.
#[test]
fn a_command_with_a_shared_c_library_ends_with_the_guests_status_too() {
    if no_kvm() {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_coracle"));
    if !program.exists() {
        not_run("the command that Cargo builds for tests is not on this machine");
        return;
    }
    for (image, arguments, status) in [
        ("exit_with", ["7"].as_slice(), 7),
        ("call_often", &["log"], 0),
        ("forever", &["call"], i32::from(exit::TIMEOUT)),
    ] {
        let mut command = Command::new(program);
        // As long as it takes, but for the one that has no end.
        let timeout = if image == "forever" { "300ms" } else { "60s" };
        command.args(["run", "--timeout", timeout]).arg(guest(image)).args(arguments);
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(status), "{image}: {}", stderr(&ended));
    }
}

#[test]
fn of_a_larger_status_the_low_eight_bits_count() {
    if no_kvm() {
        return;
    }
    for (given, status) in [(256, 0), (257, 1), (-1, 255)] {
        let ended = output(run(&[], guest("exit_with"), &[given.to_string()]));
        assert_eq!(ended.status.code(), Some(status));
    }
}

#[test]
fn an_error_from_main_is_shown_and_gives_status_1() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], guest("main_error"), &[]));
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(stderr(&ended), "Error: \"this guest never succeeds\"\n");
    assert_eq!(stdout(&ended), "");
}

#[test]
fn the_status_of_a_crash_is_its_reports() {
    if no_kvm() {
        return;
    }
    let machine = Machine::open(example("release", "crash"));
    for (how, status) in [("null-read", 139), ("division", 136), ("breakpoint", 133), ("panic", 101)] {
        let mut instance = machine.boot(&[how]);
        let (end, _) = machine.run(&mut instance, None);
        assert_eq!(end.status(), None, "{how}");
        let report = instance.report(&end, None);
        assert_eq!(report.map(|report| report.status()), Some(status), "{how}");
    }
}

#[test]
fn what_has_ended_is_not_run_again() {
    if no_kvm() {
        return;
    }
    let machine = Machine::open(guest("sum"));
    let mut instance = machine.boot(&["1"]);
    let (end, output) = machine.run(&mut instance, None);
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    assert_ne!(output, "");
    let (end, output) = machine.run(&mut instance, Some(Duration::ZERO));
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    assert_eq!(output, "");
}

#[test]
fn a_lock_that_its_holder_takes_again_ends_in_a_panic_and_not_in_a_hang() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&["--timeout", "10s"], guest("lock_twice"), &[]));
    assert_eq!(ended.status.code(), Some(exit::PANIC.into()), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("a lock is taken again by the code that holds it"));
}

#[test]
fn an_abort_gives_status_134_and_loses_what_is_still_buffered() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], guest("abort"), &[]));
    assert_eq!(ended.status.code(), Some(134));
    assert_eq!(stderr(&ended), "aborting\n");
    assert_eq!(stdout(&ended), "");
}
