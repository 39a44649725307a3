//! How a guest ends by itself.

use crate::support::{guest, no_kvm, output, run, stderr, stdout};

#[test]
fn every_status_that_a_guest_gives_is_the_commands() {
    if no_kvm() {
        return;
    }
    for status in 0..=255 {
        let ended = output(run(&[], guest("exit_with"), &[status.to_string()]));
        assert_eq!(ended.status.code(), Some(status));
        assert_eq!(stderr(&ended), "", "status {status}");
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
fn an_abort_gives_status_134_and_loses_what_is_still_buffered() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], guest("abort"), &[]));
    assert_eq!(ended.status.code(), Some(134));
    assert_eq!(stderr(&ended), "aborting\n");
    assert_eq!(stdout(&ended), "");
}
