//! `coracle run` of a snapshot.

use super::{assert_refused, resume, take, with_input};
use crate::scratch::Scratch;
use crate::support::{example, guest, no_kvm, no_kvm_for, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_run_whose_file_is_cut_short_says_so() {
    if no_kvm_for("a process copies the file before it begins") {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let mut command = resume(&[], &file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("coracle starts");
    let of_process = |name| fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("a process");
    let begin = Instant::now();
    // It has mapped the file and sleeps: it waits for its input.
    while !(of_process("maps").contains("guest.snapshot") && of_process("stat").contains(") S ")) {
        assert!(begin.elapsed() < Duration::from_secs(60), "it never waits for input");
        std::thread::yield_now();
    }
    fs::File::options().write(true).open(&file).expect("ours").set_len(4096).expect("it is cut");
    // A guest that needs nothing of what is gone answers.
    let _ = child.stdin.take().expect("a pipe").write_all(&[b'a'; 1 << 20]);
    let ended = child.wait_with_output().expect("it ends");
    let said = stderr(&ended);
    assert!(!ended.status.success() && said.contains("cut short while it ran"), "{said}");
}

#[test]
fn a_handler_goes_on_from_its_file_with_the_input_of_the_process() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    for (image, input, expected) in [
        ("handler-echo", "Hello\n", "Hello\n"),
        ("handler-template", r#"{"title": "Boats", "items": []}"#, "<h1>Boats</h1>"),
    ] {
        let file = take(&scratch, &example("release", image), &[]);
        // The image is not needed any more, and a file is run as often as one likes.
        for _ in 0..2 {
            let ended = with_input(resume(&[], &file), input.as_bytes());
            assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
            assert!(stdout(&ended).contains(expected), "{}", stdout(&ended));
            assert_eq!(stderr(&ended), "");
        }
    }
}

#[test]
fn a_program_that_is_never_ready_starts_from_its_file_as_from_its_image() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "cat"), &[]);
    let ended = with_input(resume(&[], &file), b"some bytes");
    assert_eq!((ended.status.code(), stdout(&ended)), (Some(0), "some bytes".to_owned()));
    let file = take(&scratch, &guest("exit_with"), &["7"]);
    assert_eq!(output(resume(&[], &file)).status.code(), Some(7));
}

#[test]
fn options_of_a_guest_that_has_started_are_refused() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    for (options, named) in
        [(&["--mem", "64M"][..], "--mem"), (&["--env", "A=b"], "--env"), (&["--no-aslr"], "--no-aslr")]
    {
        let ended = output(resume(options, &file));
        assert_refused(&ended, &["is a snapshot", &format!("leave out {named}"), "coracle snapshot"]);
    }
    assert_refused(&output(run(&[], file, &["argument"])), &["leave out arguments"]);
}

#[test]
fn a_resumed_guest_is_ended_by_its_timeout_and_its_exits_are_counted() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &guest("prepared"), &["", "forever"]);
    let ended = output(resume(&["--timeout", "50ms"], &file));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
    assert!(stderr(&ended).contains("still running after 50ms"), "{}", stderr(&ended));
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let ended = with_input(resume(&["--stats=json"], &file), b"x");
    let statistics: serde_json::Value = serde_json::from_slice(&ended.stderr).expect("JSON");
    assert!(statistics["exits"].as_object().is_some_and(|exits| !exits.is_empty()), "{statistics}");
}

#[test]
fn a_resumed_guest_that_crashes_is_told_by_the_names_of_its_image() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    // The image is gone when the guest crashes.
    let image = scratch.program("gone", &fs::read(guest("prepared")).expect("a guest"));
    let file = take(&scratch, &image, &["", "crash"]);
    fs::remove_file(&image).expect("it is there");
    let ended = output(resume(&[], &file));
    assert_eq!(ended.status.code(), Some(exit::BAD_ACCESS.into()));
    assert!(stderr(&ended).contains("prepared::overwrite_nothing"), "{}", stderr(&ended));
}
