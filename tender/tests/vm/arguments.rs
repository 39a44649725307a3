//! Arguments and environment of a guest.

use crate::support::{coracle, guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

/// What the guest `strings` prints for these.
fn expected(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|string| [*string, &[0]].concat()).collect()
}

fn succeeded(ended: &Output) -> &[u8] {
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(ended));
    &ended.stdout
}

#[test]
fn arguments_are_any_bytes() {
    if no_kvm() {
        return;
    }
    let every_byte: Vec<u8> = (1..=255).collect();
    let arguments: [&[u8]; 9] =
        [b"", b"plain", b"two words", b"\xff\xfe", &every_byte, b"", b"--help", b"--", b"-x=\n"];
    let ended = output(run(&[], guest("strings"), &arguments.map(OsStr::from_bytes)));
    assert_eq!(succeeded(&ended), expected(&arguments));
}

#[test]
fn the_environment_is_what_the_options_say_byte_for_byte() {
    if no_kvm() {
        return;
    }
    let mut command = Command::new(coracle());
    command.arg("run");
    for variable in [&b"PLAIN=value"[..], b"EMPTY=", b"BYTES=\xff\x80=\n", b"PASSED"] {
        command.arg("--env").arg(OsStr::from_bytes(variable));
    }
    command.arg(guest("strings")).env("PASSED", OsStr::from_bytes(b"\xf0on")).env("HIDDEN", "secret");
    let ended = output(command);
    let variables: [&[u8]; 4] = [b"PLAIN=value", b"EMPTY=", b"BYTES=\xff\x80=\n", b"PASSED=\xf0on"];
    assert_eq!(succeeded(&ended), expected(&variables));
}

#[test]
fn the_guest_has_no_environment_unless_it_is_given_one() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], guest("strings"), &[]));
    assert!(succeeded(&ended).is_empty());
}

#[test]
fn a_variable_that_is_not_set_cannot_be_passed_on() {
    let mut command = run::<&str>(&["--env", "NOT_SET_ANYWHERE"], guest("strings"), &[]);
    command.env_remove("NOT_SET_ANYWHERE");
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    assert!(stderr(&ended).contains("NOT_SET_ANYWHERE"), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "");
}

/// With 16 MiB of memory the stack has this much, and arguments get a quarter of it.
const SMALL: &[&str] = &["--mem", "16M"];
const LIMIT: usize = (2 << 20) / 4;
/// Linux takes no longer single argument.
const LONGEST: usize = 128 << 10;

/// Arguments of so many bytes in all, without what the block needs beside them.
fn arguments(bytes: usize) -> Vec<OsString> {
    let mut left = bytes;
    let mut arguments = Vec::new();
    while left > 0 {
        let length = left.min(LONGEST - 1);
        arguments.push(OsString::from("x".repeat(length)));
        left -= length;
    }
    arguments
}

#[test]
fn arguments_just_below_the_limit_arrive() {
    if no_kvm() {
        return;
    }
    let arguments = arguments(LIMIT - 1024);
    let ended = output(run(SMALL, guest("strings"), &arguments));
    let expected: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    assert!(succeeded(&ended) == self::expected(&expected));
}

#[test]
fn arguments_beyond_the_limit_are_refused_with_the_limit() {
    if no_kvm() {
        return;
    }
    let ended = output(run(SMALL, guest("strings"), &arguments(LIMIT)));
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    assert!(stderr(&ended).contains(&LIMIT.to_string()), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "");
}
