//! `coracle invoke`.
//!
//! | file | what it does |
//! |---|---|
//! | `callee` | what is called: a program, in a clean instance or a fresh one each time |
//! | `order` | makes the calls, several at once, and hands over the results in order |
//! | `show` | results and failures, as they are or in JSON |
//! | `summary` | how long the calls took |
//! | `progress` | the bar |

mod callee;
mod order;
mod progress;
mod show;
mod summary;

use super::later::About;
use super::say::{say, say_unless};
use super::{refuse, value};
use callee::Callee;
use clap::{Args, ValueHint};
use coracle_tender::confine::Confinement;
use coracle_tender::machine::Chosen;
use progress::Progress;
use show::Shown;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use summary::Summary;

/// Calls a program from the shell, each time in a machine of its own
///
/// Outputs go to standard output, in the order of the inputs; what guests say otherwise, failures and a
/// summary go to standard error. Ends with 0 when all calls were answered; else as the first that was not
/// says: with 1 when its guest failed, 124 when its time was up, 125 when the host could not make it.
#[derive(Debug, Args)]
#[command(
    override_usage = "coracle invoke [OPTIONS] <PROGRAM> [-- <ARGUMENTS>...]",
    after_help = "Examples:\n  coracle invoke target/release/handler-resize --input picture.jpg > small.png\n  \
        coracle invoke handler-echo.snapshot --input words.txt --each-line --jobs 4\n  \
        echo Hello | coracle invoke target/release/handler-echo --input - -n 1000 > /dev/null"
)]
pub(super) struct Invoke {
    /// Give the calls what is in this file, or (-) what comes from standard input. Without it, nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// Make a call for each line of the input, without the line's end. Outputs are lines then
    #[arg(long, requires = "input")]
    each_line: bool,
    /// Repeat all calls so often
    #[arg(short, value_name = "NUMBER", default_value_t = 1)]
    n: u64,
    /// Make so many calls at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Print a line of JSON for each call, and one for the summary
    #[arg(long)]
    json: bool,
    /// Boot the program for each call, so that its memory lies elsewhere each time. It takes longer
    #[arg(long)]
    fresh_layout: bool,
    /// Say nothing but what guests say and which calls failed: not what runs them, no bar, and no summary but that
    /// of --json
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    backend: Chosen,
    #[command(flatten)]
    confinement: Confinement,
    /// Memory for the guest: a number with K, M, G or T (powers of 1024), or of bytes [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    mem: Option<u64>,
    /// End a call after this time: a number with ms, s, m or h, or of seconds
    #[arg(long, value_name = "TIME", value_parser = value::duration, default_value = "10s")]
    timeout: Duration,
    /// An image or a snapshot
    #[arg(value_name = "PROGRAM", value_hint = ValueHint::FilePath)]
    program: PathBuf,
    /// Arguments for a program that is an image
    #[arg(value_name = "ARGUMENTS", last = true)]
    arguments: Vec<std::ffi::OsString>,
}

impl About for Invoke {
    const ABOUT: &'static str = "Calls a program from the shell, each time in a machine of its own";
}

impl Invoke {
    pub(super) fn carry_out(self) -> u8 {
        let host = match self.backend.open(|words| say_unless(self.quiet, words)) {
            Ok(host) => Arc::new(host),
            Err(error) => return refuse(error),
        };
        let files = self.input.as_deref().into_iter().chain([&*self.program]).chain(host.reads());
        let confined = self.confinement.prepare();
        let confined = confined.and_then(|()| self.confinement.files(files, None, |words| say(words)));
        if let Err(error) = confined {
            return refuse(error);
        }
        let input = match self.input.as_deref().map(read).transpose() {
            Ok(input) => input.unwrap_or_default(),
            Err(error) => return refuse(error),
        };
        let inputs: Vec<&[u8]> = if self.each_line { lines(&input) } else { vec![&input] };
        let count = self.n.saturating_mul(inputs.len() as u64);
        let callee = match Callee::open(&self, host, count) {
            Ok(callee) => callee,
            Err(error) => {
                say(format_args!("coracle: {}\n", error.words));
                return error.status;
            }
        };
        let call = |number: u64| {
            let index = (number % inputs.len() as u64) as usize;
            callee.call(inputs.get(index).copied().unwrap_or_default())
        };
        let mut shown = Shown::new(self.json, self.each_line, count);
        let mut summary = Summary::default();
        let mut progress = Progress::of(count, !self.quiet);
        let start = Instant::now();
        let done = order::in_order(count, self.jobs.into(), call, |number, called| {
            summary.add(&called);
            progress.step(shown.is_quiet(&called), || shown.show(number, called))
        });
        progress.end();
        if let Err(error) = done {
            return shown.lost(&error);
        }
        if self.quiet && !self.json {
            return shown.status();
        }
        summary
            .show(start.elapsed(), self.json)
            .unwrap_or_else(|error| shown.lost(&error))
            .max(shown.status())
    }
}

/// All of an input.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("{}: cannot read the input: {error}", path.display())),
    }
}

/// Lines without their ends. What follows the last end is one only if it is not empty.
fn lines(input: &[u8]) -> Vec<&[u8]> {
    let whole = input.strip_suffix(b"\n").unwrap_or(input);
    if input.is_empty() {
        return Vec::new();
    }
    whole.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn lines_are_without_their_ends() {
        assert_eq!(lines(b""), [] as [&[u8]; 0]);
        assert_eq!(lines(b"\n"), [b""]);
        assert_eq!(lines(b"a\r\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(b"a\nb\n"), [b"a", b"b"]);
    }
}
