//! `coracle snapshot`, and `coracle run` and `coracle inspect` of what it makes.

use crate::scratch::Scratch;
use crate::support::{coracle, example, guest, no_kvm, no_kvm_for, output, run, stderr, stdout};
use coracle_hypercall::exit;
use coracle_tender::snapshot::format::{Cpuid, Header, Run};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::mem::offset_of;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// `coracle snapshot` with these arguments.
fn snapshot<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(coracle());
    command.arg("snapshot").args(arguments).stdin(Stdio::null());
    command
}

/// Takes a snapshot of an image with arguments.
fn take(scratch: &Scratch, image: &Path, arguments: &[&str]) -> PathBuf {
    let file = scratch.path().join("guest.snapshot");
    let mut command = snapshot(&[OsStr::new("-o"), file.as_os_str(), image.as_os_str()]);
    let ended = output({
        command.args(arguments);
        command
    });
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    file
}

/// Runs a command with this input.
fn with_input(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("coracle starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

/// `coracle run` of a snapshot, without arguments.
fn resume(options: &[&str], file: &Path) -> Command {
    let mut command = run::<&str>(options, file.to_owned(), &[]);
    command.stdin(Stdio::null());
    command
}

/// That the command ended with 125 and one sentence with these words.
fn assert_refused(ended: &Output, words: &[&str]) {
    let said = stderr(ended);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
    assert!(said.starts_with("coracle: ") && said.lines().count() == 1, "{said}");
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

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
fn verify_tells_a_whole_file_from_one_with_a_changed_byte_anywhere() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let ended = output(snapshot(&["verify", text(&file)]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(stdout(&ended).contains("is as it was written") && stderr(&ended).is_empty());
    let whole = fs::read(&file).expect("a snapshot");
    // In the head, among the pages, in the image.
    for at in [100, whole.len() / 8, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).expect("a file");
        assert_refused(&output(snapshot(&["verify", text(&file)])), &[text(&file), "is damaged"]);
    }
    fs::write(&file, &whole[..whole.len() - 1]).expect("a file");
    assert_refused(&output(snapshot(&["verify", text(&file)])), &["it was cut or changed"]);
}

#[test]
fn what_is_no_snapshot_is_refused_by_verify_with_how_to_make_one() {
    let image = example("stripped", "hello");
    assert_refused(&output(snapshot(&["verify", text(&image)])), &["is not a snapshot", "coracle snapshot"]);
    assert_refused(&output(snapshot(&["verify", "/nowhere/it"])), &["`/nowhere/it` cannot be read"]);
    assert_refused(&output(snapshot(&["verify", "/tmp"])), &["is not a snapshot"]);
}

#[test]
fn a_cut_or_damaged_snapshot_is_refused_by_run_in_words() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let whole = fs::read(&file).expect("a snapshot");
    for length in [8, 100, 5000, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        assert_refused(&output(resume(&[], &file)), &[text(&file), "it was cut or changed"]);
    }
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    fs::write(&file, &bytes).expect("a file");
    assert_refused(&output(resume(&[], &file)), &[text(&file), "copy it again"]);
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

#[test]
fn inspect_shows_what_a_snapshot_is_of_and_that_it_runs_here() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let image = example("release", "handler-echo");
    let file = take(&scratch, &image, &[]);
    let inspect = |options: &[&str]| {
        let mut command = Command::new(coracle());
        command.arg("inspect").args(options).arg(&file);
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        stdout(&ended)
    };
    let shown = inspect(&[]);
    for words in
        ["snapshot, format 1", "handler", "ready for its input", "64.0 MiB", text(&image), "fsgsbase"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.ends_with('\n') && !shown.ends_with("\n\n"), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).expect("JSON");
    assert_eq!((&shown["program"], &shown["ready"]), (&"handler".into(), &true.into()));
    assert_eq!(shown["image"]["size"], fs::metadata(&image).expect("an image").len());
    assert!(shown["image"]["build_id"].is_string() && shown["refusal"].is_null(), "{shown}");
}

#[test]
fn inspect_ends_with_1_for_a_snapshot_that_run_would_refuse() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let whole = fs::read(&file).expect("a snapshot");
    for length in [8, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        let mut command = Command::new(coracle());
        command.arg("inspect").arg(&file);
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(stdout(&ended).contains("it was cut or changed"), "{}", stdout(&ended));
    }
}

/// Changes what is before the pages of a snapshot, and gives it the digest for that.
fn forge(file: &Path, change: impl FnOnce(&Header, &mut [u8])) {
    let mut bytes = fs::read(file).expect("a snapshot");
    let (header, _) = Header::read_from_prefix(&bytes).expect("a header");
    let head = &mut bytes[..usize::try_from(header.data_offset).expect("a length")];
    change(&header, head);
    let at = offset_of!(Header, head_digest)..offset_of!(Header, body_digest);
    head[at.clone()].fill(0);
    let digest = Sha256::digest(&*head);
    head[at].copy_from_slice(&digest);
    fs::write(file, bytes).expect("a file");
}

#[test]
fn a_snapshot_of_another_cpu_is_refused_with_the_features_that_are_missing() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    forge(&file, |header, head| {
        let entries = &mut head[size_of::<Header>()..];
        let entries = entries.chunks_mut(size_of::<Cpuid>()).take(header.cpuid_count as usize);
        for bytes in entries {
            let mut entry = Cpuid::read_from_bytes(bytes).expect("an entry");
            if entry.leaf == 7 {
                // No CPU has this bit in what guests see.
                entry.values[3] |= 1 << 31;
                bytes.copy_from_slice(entry.as_bytes());
            }
        }
    });
    let words = "was taken on a CPU with features that this one lacks (CPUID 0x7 edx bit 31)";
    assert_refused(&output(resume(&[], &file)), &[words]);
    let mut command = Command::new(coracle());
    command.arg("inspect").arg(&file);
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stdout(&ended).contains(words), "{}", stdout(&ended));
}

#[test]
fn the_name_of_a_forged_snapshot_cannot_steer_the_terminal() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &guest("prepared"), &["", "crash"]);
    forge(&file, |header, head| {
        let tables =
            header.cpuid_count as usize * size_of::<Cpuid>() + header.run_count as usize * size_of::<Run>();
        head[size_of::<Header>() + tables..][..4].copy_from_slice(b"\x1b[2J");
    });
    let mut inspect = Command::new(coracle());
    inspect.arg("inspect").arg(&file);
    let shown = stdout(&output(inspect));
    assert!(shown.contains("\\u{1b}[2J") && !shown.contains('\x1b'), "{shown}");
    let ended = output(resume(&[], &file));
    assert_eq!(ended.status.code(), Some(exit::BAD_ACCESS.into()));
    assert!(!stderr(&ended).contains('\x1b'), "{}", stderr(&ended));
}
