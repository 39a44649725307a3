//! The guest's standard streams.

use crate::child::{Blocked, Running};
use crate::lane::times;
use crate::scratch::Scratch;
use crate::support::{coracle, example, guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn output_whose_reader_is_gone_ends_the_guest_quietly() {
    if no_kvm() {
        return;
    }
    let mut command = run(&["--timeout", "60s"], guest("forever"), &["write"]);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    assert_eq!(running.line(), "ready");
    let mut error = running.error();
    assert_eq!(running.unheard().code(), Some(exit::CLOSED_OUTPUT.into()));
    let mut words = String::new();
    error.read_to_string(&mut words).expect("text");
    assert_eq!(words, "");
}

#[test]
fn a_guest_whose_standard_error_has_no_reader_goes_on() {
    if no_kvm() {
        return;
    }
    let ended = unheard_error(run::<&str>(&[], guest("write_error"), &[]));
    assert_eq!(ended, (Some(0), "Err(Call(Closed))\n".to_owned()));
}

#[test]
fn a_tender_whose_standard_error_has_no_reader_gives_the_right_status() {
    if no_kvm() {
        return;
    }
    let crash = |name| unheard_error(run(&[], example("release", "crash"), &[name])).0;
    assert_eq!(crash("null-read"), Some(exit::BAD_ACCESS.into()));
    assert_eq!(crash("panic"), Some(exit::PANIC.into()));
    let timed_out = unheard_error(run(&["--timeout", "50ms"], guest("forever"), &["log"]));
    assert_eq!(timed_out.0, Some(exit::TIMEOUT.into()));
    let refused = unheard_error(run::<&str>(&[], "/nonexistent".into(), &[]));
    assert_eq!(refused.0, Some(exit::TENDER.into()));
    let mut nonsense = Command::new(coracle());
    nonsense.arg("nonsense");
    assert_eq!(unheard_error(nonsense).0, Some(exit::TENDER.into()));
}

/// Runs a command whose standard error is a pipe that nobody reads.
fn unheard_error(mut command: Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stderr(writer);
    let ended = output(command);
    (ended.status.code(), stdout(&ended))
}

#[test]
fn a_command_whose_answer_nobody_reads_ends_quietly() {
    for arguments in [&["doctor"][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(coracle());
        let child = command.args(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
        let ended = child.expect("coracle starts").wait_with_output().expect("it ends");
        assert_eq!(stderr(&ended), "", "{arguments:?}");
        assert_ne!(ended.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn output_goes_into_a_file() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path().join("output");
    let mut command = run::<&str>(&[], example("release", "hello"), &[]);
    let status = command.stdout(File::create(&path).expect("a file")).status().expect("coracle starts");
    assert_eq!(status.code(), Some(0));
    let written = std::fs::read_to_string(&path).expect("text");
    assert_eq!(written, "Hello from a virtual machine of my own!\n");
}

#[test]
fn output_that_the_host_cannot_write_is_an_error() {
    if no_kvm() {
        return;
    }
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = run::<&str>(&[], example("release", "cat"), &[]);
    command.stdin(File::open(example("release", "cat")).expect("a file")).stdout(full).stderr(Stdio::piped());
    let ended = command.spawn().expect("coracle starts").wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    let words = stderr(&ended);
    assert!(
        words.starts_with("ERROR coracle: cannot write standard output: No space left on device"),
        "{words}"
    );
}

#[test]
fn input_that_the_host_cannot_read_is_an_error() {
    if no_kvm() {
        return;
    }
    let mut command = run::<&str>(&[], example("release", "cat"), &[]);
    command.stdin(File::open("/").expect("a directory"));
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(1));
    let words = stderr(&ended);
    assert!(words.starts_with("ERROR coracle: cannot read standard input: Is a directory"), "{words}");
    assert!(words.ends_with("\nError: Call(Io)\n"), "{words}");
}

#[test]
fn closed_input_is_input_that_has_ended() {
    if no_kvm() {
        return;
    }
    let mut command = run::<&str>(&[], example("release", "cat"), &[]);
    // SAFETY: between fork and exec this only closes a descriptor.
    unsafe {
        command.pre_exec(|| {
            libc::close(0);
            Ok(())
        });
    }
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(ended.stdout.is_empty());
}

/// A pseudo-random stream.
struct Stream(u64);

impl Stream {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

#[test]
fn a_hundred_megabytes_pass_through_cat_unchanged() {
    if no_kvm() {
        return;
    }
    const PIECE: usize = 100_000;
    let pieces = times(1_000, 20) as usize;
    let mut running = Running::start(run::<&str>(&[], example("release", "cat"), &[]).stdin(Stdio::piped()));
    let mut input = running.input();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, mut piece) = (Stream(42), vec![0; PIECE]);
            for _ in 0..pieces {
                stream.fill(&mut piece);
                input.write_all(&piece).expect("cat reads");
            }
        });
        let (mut stream, mut piece) = (Stream(42), vec![0; PIECE]);
        for number in 0..pieces {
            stream.fill(&mut piece);
            assert!(running.bytes(PIECE) == piece, "piece {number} has changed");
        }
        assert!(running.rest().is_empty());
    });
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn a_slow_reader_loses_nothing() {
    if no_kvm() {
        return;
    }
    let mut command = run(&[], example("release", "mandelbrot"), &["1200", "1000", "5"]);
    let expected = output(command).stdout;
    command = run(&[], example("release", "mandelbrot"), &["1200", "1000", "5"]);
    let mut running = Running::start(&mut command);
    // Nothing is read before the guest is stuck.
    running.wait_until(Blocked::Writing);
    assert!(running.rest() == expected);
    assert_eq!(running.ended().code(), Some(0));
}

/// Makes the file that a descriptor stands for return instead of wait.
fn never_wait(descriptor: &impl AsRawFd) {
    // SAFETY: fcntl on an open descriptor.
    unsafe {
        let flags = libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL);
        assert_eq!(libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK), 0);
    }
}

#[test]
fn streams_that_do_not_wait_lose_nothing() {
    if no_kvm() {
        return;
    }
    const LENGTH: usize = 3_000_000;
    let (input, mut into) = std::io::pipe().expect("a pipe");
    let (mut from, output) = std::io::pipe().expect("a pipe");
    never_wait(&input);
    never_wait(&output);
    let mut command = run::<&str>(&["--timeout", "60s"], example("release", "cat"), &[]);
    let mut child = command.stdin(input).stdout(OwnedFd::from(output)).spawn().expect("coracle starts");
    drop(command);
    let mut expected = vec![0; LENGTH];
    Stream(7).fill(&mut expected);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            into.write_all(&expected).expect("cat reads");
            drop(into);
        });
        let mut found = Vec::new();
        from.read_to_end(&mut found).expect("output");
        assert!(found == expected);
    });
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn buffers_are_written_one_after_the_other() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&[], guest("vectored"), &[]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let expected: Vec<u8> = (0..64).filter(|number| number % 7 != 0).collect();
    assert_eq!(ended.stdout, expected);
    assert_eq!(ended.stderr, expected);
}

#[test]
fn a_line_without_its_end_is_shown_before_input_is_waited_for_and_at_the_end() {
    if no_kvm() {
        return;
    }
    let mut running = Running::start(run::<&str>(&[], guest("partial_line"), &[]).stdin(Stdio::piped()));
    assert_eq!(running.bytes(6), b"name? ");
    running.input().write_all(b"Ada\n").expect("the guest reads");
    assert_eq!(running.rest(), b"hello, Ada\nno line's end");
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn the_tender_never_writes_to_standard_output() {
    let refusals: &[&[&str]] = &[
        &["run", "/nonexistent"],
        &["run", "/bin/true"],
        &["run"],
        &["run", "--mem", "1K", "x"],
        &["nonsense"],
    ];
    for arguments in refusals {
        let ended = Command::new(coracle()).args(*arguments).output().expect("coracle starts");
        assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{arguments:?}");
        assert_eq!(stdout(&ended), "", "{arguments:?}");
        assert_ne!(stderr(&ended), "", "{arguments:?}");
    }
}
