//! Arguments and environment of a guest.

use crate::scratch::Scratch;
use crate::support::{coracle, guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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

/// `coracle run` with just these arguments.
fn bare(arguments: &[&OsStr]) -> Output {
    let mut command = Command::new(coracle());
    command.arg("run").args(arguments).stdin(Stdio::null());
    output(command)
}

#[test]
fn options_after_the_image_are_the_guests() {
    if no_kvm() {
        return;
    }
    let image = guest("strings");
    let arguments = ["--quiet", "x", "--", "--mem=1K", "--help"].map(OsStr::new);
    let ended = bare(&[&[image.as_os_str()], &arguments[..]].concat());
    assert_eq!(succeeded(&ended), expected(&arguments.map(OsStr::as_bytes)));
}

#[test]
fn two_dashes_between_image_and_arguments_are_left_out() {
    if no_kvm() {
        return;
    }
    let image = guest("strings");
    for before in [&[][..], &[OsStr::new("--")]] {
        let ended = bare(&[before, &[image.as_os_str(), OsStr::new("--"), OsStr::new("-a")]].concat());
        assert_eq!(succeeded(&ended), expected(&[b"-a"]));
    }
}

#[test]
fn an_unknown_option_before_the_image_is_refused_by_name() {
    let ended = bare(&[OsStr::new("--nonsense"), guest("strings").as_os_str()]);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    assert!(stderr(&ended).contains("'--nonsense'"), "{}", stderr(&ended));
}

#[test]
fn the_help_says_the_units_of_sizes_and_times() {
    let ended = bare(&[OsStr::new("--help")]);
    let words = stdout(&ended).split_whitespace().collect::<Vec<_>>().join(" ");
    for units in ["K, M, G or T", "ms, s, m or h"] {
        assert!(words.contains(units), "{words}");
    }
}

#[test]
fn more_memory_than_a_machine_can_have_is_refused_with_the_limit() {
    if no_kvm() {
        return;
    }
    for size in ["8T", "1000000T"] {
        let ended = output(run::<&str>(&["--mem", size], guest("strings"), &[]));
        assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
        let words = stderr(&ended);
        assert!(words.contains(&format!("--mem {size} ")) && words.contains("or less"), "{words}");
    }
}

/// An image that says of itself that its threads need so much storage of their own.
fn with_thread_local_storage(scratch: &Scratch, bytes: u64) -> PathBuf {
    const PT_TLS: u32 = 7;
    const PT_GNU_STACK: u32 = 0x6474_e551;
    let mut image = std::fs::read(guest("strings")).expect("a guest");
    let word = |image: &[u8], at: usize| u16::from_le_bytes(image[at..at + 2].try_into().expect("two bytes"));
    let (size, count) = (word(&image, 54), word(&image, 56));
    let headers = (0..count).map(|index| 64 + usize::from(index * size));
    let kind =
        |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
    assert!(headers.clone().all(|at| kind(&image, at) != PT_TLS));
    let header = headers.clone().find(|&at| kind(&image, at) == PT_GNU_STACK).expect("a header to spare");
    image[header..header + 4].copy_from_slice(&PT_TLS.to_le_bytes());
    image[header + 32..header + 40].copy_from_slice(&0_u64.to_le_bytes());
    image[header + 40..header + 48].copy_from_slice(&bytes.to_le_bytes());
    image[header + 48..header + 56].copy_from_slice(&64_u64.to_le_bytes());
    scratch.program("image", &image)
}

#[test]
fn thread_local_storage_that_the_heap_does_not_hold_is_refused_with_the_memory_that_it_needs() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let image = with_thread_local_storage(&scratch, 100 << 20);
    let ended = output(run::<&str>(&[], image.clone(), &[]));
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{}", stderr(&ended));
    let words = stderr(&ended);
    let (words, needed) = words.trim_end().rsplit_once(" --mem ").expect("a way out");
    assert!(words.contains("thread-local storage takes 100.1M"), "{words}");
    succeeded(&output(run::<&str>(&["--mem", needed], image, &[])));
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
