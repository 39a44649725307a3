//! What `coracle snapshot` says and writes, and what it refuses.

use super::{assert_refused, names, resume, snapshot, take, text, with_input};
use crate::scratch::Scratch;
use crate::support::{example, guest, no_kvm, output, stderr, stdout};
use coracle_hypercall::exit;
use std::fs;
use std::os::unix::process::CommandExt;

#[test]
fn one_line_tells_of_what_was_made_and_none_with_quiet() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    for (image, state) in [("handler-echo", ": ready, in "), ("cat", "as it is before its first instruction")]
    {
        let image = example("release", image);
        let arguments = [text(&image), "-o", text(&file)];
        let ended = output(snapshot(&arguments));
        let said = stderr(&ended);
        assert!(said.starts_with("coracle: ") && said.lines().count() == 1, "{said}");
        assert!(said.contains(state) && said.contains(text(&file)) && said.contains("iB"), "{said}");
        assert_eq!(stdout(&ended), "");
        let ended = output(snapshot(&[&arguments[..], &["--quiet"]].concat()));
        assert_eq!(
            (ended.status.code(), stderr(&ended), stdout(&ended)),
            (Some(0), String::new(), String::new())
        );
    }
}

#[test]
fn what_a_program_writes_before_it_is_ready_goes_to_the_streams_once_and_not_into_its_runs() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    let image = guest("prepared");
    let ended = output(snapshot(&["-o", text(&file), text(&image), "speak"]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert_eq!(stdout(&ended), "prepared on standard output\n");
    assert!(stderr(&ended).starts_with("prepared on standard error\ncoracle: "), "{}", stderr(&ended));
    let ended = with_input(resume(&[], &file), b"input");
    assert_eq!(stdout(&ended), "went on with Ok(\"input\")\n", "{}", stderr(&ended));
    assert_eq!(stderr(&ended), "");
}

#[test]
fn json_stands_alone_on_standard_output() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    let image = guest("prepared");
    let ended = output(snapshot(&["--json", "-o", text(&file), text(&image), "speak"]));
    let made: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(made["size"].as_u64(), Some(fs::metadata(&file).expect("a file").len()));
    assert_eq!((&made["ready"], &made["program"]), (&true.into(), &"main".into()));
    assert_eq!(made["memory"], 64 << 20);
    assert_eq!(stderr(&ended), "prepared on standard output\nprepared on standard error\n");
}

#[test]
fn options_stand_before_and_behind_the_image_and_what_follows_an_argument_is_the_programs() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    let image = example("release", "args");
    for arguments in [
        &["-o", text(&file), "--env", "COLOUR=blue", text(&image), "one", "--mem", "-o"][..],
        &[text(&image), "--env", "COLOUR=blue", "-o", text(&file), "one", "--mem", "-o"],
        &["--env", "COLOUR=blue", "-o", text(&file), text(&image), "--", "one", "--mem", "-o"],
    ] {
        let ended = output(snapshot(arguments));
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let printed = stdout(&output(resume(&[], &file)));
        let expected = "argument 1: one\nargument 2: --mem\nargument 3: -o\nCOLOUR: blue\n";
        assert!(printed.ends_with(expected), "{arguments:?}: {printed}");
    }
}

#[test]
fn an_image_named_verify_is_reached_by_its_path() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.program("verify", &fs::read(example("stripped", "hello")).expect("hello"));
    let mut command = snapshot(&["./verify", "-o", "hello.snapshot"]);
    command.current_dir(scratch.path());
    assert_eq!(output(command).status.code(), Some(0));
    let ended = output(resume(&[], &scratch.path().join("hello.snapshot")));
    assert_eq!(stdout(&ended), "Hello from a virtual machine of my own!\n");
    // The word alone is the subcommand.
    assert_refused(&output(snapshot(&["verify", text(&image)])), &["is not a snapshot"]);
}

#[test]
fn a_program_that_fails_before_it_is_ready_has_no_snapshot_and_the_report_says_why() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    let image = guest("prepared");
    let ended = output(snapshot(&["-o", text(&file), text(&image), "fail"]));
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
    assert!(said.starts_with("about to fail\ncoracle: guest panicked"), "{said}");
    assert!(said.contains("cannot prepare"), "{said}");
    assert!(said.ends_with("the program ended before it was ready\n"), "{said}");
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn a_program_that_is_not_ready_in_time_has_no_snapshot() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("guest.snapshot");
    let image = guest("prepared");
    let ended = output(snapshot(&["--timeout", "50ms", "-o", text(&file), text(&image), "forever"]));
    assert_refused(&ended, &["not ready after 50ms", "--timeout"]);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_program_starts() {
    let scratch = Scratch::new();
    let hello = fs::read(example("stripped", "hello")).expect("hello");
    let image = scratch.program("hello", &hello);
    // Were it started, it would not be ready in time.
    let refused = |file: &str, words| {
        let ended = output(snapshot(&["--timeout", "0s", "-o", file, text(&image)]));
        assert_refused(&ended, words);
    };
    refused("/nowhere/guest.snapshot", &["cannot write `/nowhere/guest.snapshot`", "folder"]);
    refused(text(scratch.path()), &["is a directory"]);
    refused("/dev/null", &["is not an ordinary file"]);
    refused(text(&image), &["is the image itself"]);
    assert_eq!(fs::read(&image).expect("it is still there"), hello);
    assert_eq!(names(scratch.path()), ["hello"]);
}

#[test]
fn where_there_is_no_room_the_file_that_was_there_stays_and_nothing_else() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let before = fs::read(&file).expect("a snapshot");
    let mut command = snapshot(&["-o", text(&file), text(&example("release", "handler-echo"))]);
    // A limit takes the place of a full disk: all but the last byte has room.
    let limit = libc::rlimit { rlim_cur: before.len() as u64 - 1, rlim_max: before.len() as u64 - 1 };
    // SAFETY: between fork and exec this only sets a limit. The tender gets an error and no signal,
    // which stays ignored beyond exec.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    assert_refused(&output(command), &["cannot write", "make room"]);
    assert_eq!(fs::read(&file).expect("the snapshot"), before);
    assert_eq!(names(scratch.path()), ["guest.snapshot"]);
}

#[test]
fn a_snapshot_of_a_snapshot_is_refused() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let ended = output(snapshot(&["-o", "other", text(&file)]));
    assert_refused(&ended, &["is a snapshot of a program and not an ELF program"]);
}
