//! `coracle snapshot`, and `coracle run` and `coracle inspect` of what it makes.

mod looking;
mod running;
mod taking;

use crate::scratch::Scratch;
use crate::support::{coracle, output, run, stderr};
use coracle_hypercall::exit;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
