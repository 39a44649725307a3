//! Results and failures, as they are or in JSON.

use super::callee::Called;
use crate::command::say::say;
use coracle_hypercall::exit;
use coracle_tender::pool::{CallError, Overrun};
use serde_json::{Value, json};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// The status when a guest failed.
pub(super) const FAILED: u8 = 1;

/// Where results go.
pub(super) struct Shown {
    json: bool,
    lines: bool,
    /// How many calls there are.
    count: u64,
    output: BufWriter<Stdout>,
    terminal: bool,
    status: u8,
}

impl Shown {
    pub(super) fn new(json: bool, lines: bool, count: u64) -> Shown {
        let output = BufWriter::new(io::stdout());
        Shown { json, lines, count, output, terminal: io::stdout().is_terminal(), status: 0 }
    }

    /// The status of the first call that was not answered, 0 when all were.
    pub(super) fn status(&self) -> u8 {
        self.status
    }

    /// Whether showing this writes to no terminal.
    pub(super) fn is_quiet(&self, called: &Called) -> bool {
        !self.terminal && called.result.as_ref().is_ok_and(|output| output.diagnostics.is_empty())
    }

    /// Shows one.
    pub(super) fn show(&mut self, number: u64, called: Called) -> io::Result<()> {
        let (output, error) = match &called.result {
            Ok(output) => (Some(&output.bytes), None),
            Err(error @ CallError::Exited { output, .. }) => (Some(output), Some(error)),
            Err(error) => (None, Some(error)),
        };
        if let Some(error) = error
            && self.status == 0
        {
            self.status = status(error);
        }
        self.diagnostics(&called);
        if self.json {
            let mut line = json!({
                "call": number,
                "result": error.map_or("answered", kind),
                "seconds": called.took.as_secs_f64(),
            });
            if let Some(line) = line.as_object_mut() {
                if let Some(error) = error {
                    line.insert("error".to_owned(), error.to_string().into());
                }
                if let Some(output) = output {
                    let (name, value) = text(output);
                    line.insert(name.to_owned(), value);
                }
            }
            writeln!(self.output, "{line}")?;
        } else if let Some(output) = output {
            self.output.write_all(output)?;
            if self.lines && !output.ends_with(b"\n") {
                self.output.write_all(b"\n")?;
            }
        }
        // What waits for the last call is not to wait for the summary.
        if number + 1 == self.count { self.output.flush() } else { Ok(()) }
    }

    /// What a guest said beside its answer, and why there is none.
    fn diagnostics(&self, called: &Called) {
        let diagnostics = match &called.result {
            Ok(output) => &output.diagnostics[..],
            Err(
                CallError::Failed { diagnostics, .. }
                | CallError::Exited { diagnostics, .. }
                | CallError::Crashed { diagnostics, .. },
            ) => diagnostics,
            Err(_) => &[],
        };
        if !diagnostics.is_empty() {
            say(String::from_utf8_lossy(diagnostics));
        }
        match &called.result {
            Ok(_) => {}
            Err(CallError::Crashed { report, .. }) => say(report),
            Err(error) => say(format_args!("coracle: {error}\n")),
        }
    }

    /// Standard output takes no more: the status for that.
    pub(super) fn lost(&self, error: &io::Error) -> u8 {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return exit::CLOSED_OUTPUT;
        }
        crate::command::refuse(format_args!("cannot write standard output: {error}"))
    }
}

fn status(error: &CallError) -> u8 {
    match error {
        CallError::Overran(Overrun::Time(_)) => exit::TIMEOUT,
        CallError::Busy(_) | CallError::Host(_) | CallError::Cancelled => exit::TENDER,
        _ => FAILED,
    }
}

/// A result in one word.
fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::Failed { .. } => "failed",
        CallError::Exited { .. } => "exited",
        CallError::Crashed { .. } => "crashed",
        CallError::Overran(_) => "overran",
        _ => "host",
    }
}

/// An output in JSON: as text, or where it is none in hexadecimal digits.
fn text(output: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(output) {
        Ok(text) => ("output", text.into()),
        Err(_) => {
            let digits: String = output.iter().map(|byte| format!("{byte:02x}")).collect();
            ("output_hex", digits.into())
        }
    }
}
