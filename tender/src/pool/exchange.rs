//! Bytes in, bytes out.

use super::functions::Functions;
use crate::calls::{Abort, Caller};
use std::time::Instant;

/// The most that is kept of what a guest writes to standard error, in bytes.
const MOST_DIAGNOSTICS: usize = 64 << 10;

/// Where a call's output goes as it comes, if it is not kept.
pub trait Sink: Send {
    /// Takes the bytes out of the buffer. It may wait, until `deadline` at most.
    ///
    /// # Errors
    /// [`Abort::Gone`] when nobody wants them any more, [`Abort::Late`] at the deadline.
    fn take(&mut self, output: &mut Vec<u8>, deadline: Option<Instant>) -> Result<(), Abort>;
}

/// Where a call's input comes from, if it is not all there.
pub trait Source: Send {
    /// The length of all of it in bytes, where it is known. A source that ends before is
    /// [gone](Abort::Gone), and what it gives beyond is left out.
    fn total(&self) -> Option<u64>;

    /// The next bytes, none at the end. It may wait, until `deadline` at most.
    ///
    /// # Errors
    /// [`Abort::Gone`] when there will be no more, [`Abort::Late`] at the deadline.
    fn next(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Abort>;
}

/// What a call works on.
pub(super) struct Exchange<'a> {
    input: Input<'a>,
    pub(super) output: &'a mut Vec<u8>,
    sink: Option<&'a mut dyn Sink>,
    /// How much was in `output` before.
    before: usize,
    /// Bytes that the sink has taken.
    sent: u64,
    /// Whether the sink wants no more.
    gone: bool,
    most_output: u64,
    pub(super) diagnostics: Vec<u8>,
    functions: &'a Functions,
}

/// How far a call has come whose thread changes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes of its input that the guest has taken.
    taken: usize,
    diagnostics: Vec<u8>,
}

enum Input<'a> {
    Whole {
        rest: &'a [u8],
        total: u64,
    },
    Streamed {
        source: &'a mut dyn Source,
        piece: Vec<u8>,
        taken: usize,
        /// How many bytes the source still owes, where it has said so.
        left: Option<u64>,
    },
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        input: &'a [u8],
        output: &'a mut Vec<u8>,
        most_output: Option<u64>,
        functions: &'a Functions,
    ) -> Exchange<'a> {
        let before = output.len();
        Exchange {
            before,
            input: Input::Whole { rest: input, total: input.len() as u64 },
            output,
            sink: None,
            sent: 0,
            gone: false,
            most_output: most_output.unwrap_or(u64::MAX),
            diagnostics: Vec::new(),
            functions,
        }
    }

    /// The same, for a call that has come so far already. All that is in `output` is its own.
    pub(super) fn going_on(mut self, progress: Progress) -> Exchange<'a> {
        self.consume(progress.taken);
        self.diagnostics = progress.diagnostics;
        Exchange { before: 0, ..self }
    }

    /// The same, with output that goes away as it comes.
    pub(super) fn into_sink(self, sink: &'a mut dyn Sink) -> Exchange<'a> {
        Exchange { sink: Some(sink), ..self }
    }

    /// How far it has come.
    pub(super) fn progress(&mut self) -> Progress {
        let taken = match &self.input {
            Input::Whole { rest, total } => *total as usize - rest.len(),
            Input::Streamed { .. } => 0,
        };
        Progress { taken, diagnostics: std::mem::take(&mut self.diagnostics) }
    }

    pub(super) fn streamed(
        source: &'a mut dyn Source,
        sink: &'a mut dyn Sink,
        output: &'a mut Vec<u8>,
        most_output: Option<u64>,
        functions: &'a Functions,
    ) -> Exchange<'a> {
        let left = source.total();
        let input = Input::Streamed { source, piece: Vec::new(), taken: 0, left };
        Exchange { input, sink: Some(sink), ..Exchange::new(&[], output, most_output, functions) }
    }

    /// Whether nobody wanted the output any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// The limit on output, for messages.
    pub(super) fn most_output(&self) -> u64 {
        self.most_output
    }
}

impl Caller for Exchange<'_> {
    fn total(&self) -> Option<u64> {
        match &self.input {
            Input::Whole { total, .. } => Some(*total),
            Input::Streamed { source, .. } => source.total(),
        }
    }

    fn input(&mut self, deadline: Option<Instant>) -> Result<&[u8], Abort> {
        match &mut self.input {
            Input::Whole { rest, .. } => Ok(rest),
            Input::Streamed { source, piece, taken, left } => {
                if *taken >= piece.len() && *left != Some(0) {
                    (*piece, *taken) = (source.next(deadline)?, 0);
                    if let Some(left) = left {
                        // What is shorter than it said is not whole: nobody is to take it for that.
                        if piece.is_empty() {
                            return Err(Abort::Gone);
                        }
                        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= piece.len() as u64;
                    }
                }
                Ok(piece.get(*taken..).unwrap_or_default())
            }
        }
    }

    fn consume(&mut self, count: usize) {
        match &mut self.input {
            Input::Whole { rest, .. } => *rest = rest.get(count..).unwrap_or_default(),
            Input::Streamed { taken, .. } => *taken += count,
        }
    }

    fn room(&mut self, length: usize) -> Result<&mut Vec<u8>, Abort> {
        let after = self.sent + (self.output.len() - self.before) as u64 + length as u64;
        if after > self.most_output { Err(Abort::TooMuchOutput) } else { Ok(self.output) }
    }

    fn appended(&mut self, deadline: Option<Instant>) -> Result<(), Abort> {
        if let Some(sink) = &mut self.sink {
            self.sent += self.output.len() as u64;
            let taken = sink.take(self.output, deadline);
            self.gone |= taken == Err(Abort::Gone);
            taken?;
            self.output.clear();
        }
        Ok(())
    }

    fn diagnostics_room(&self) -> usize {
        MOST_DIAGNOSTICS.saturating_sub(self.diagnostics.len())
    }

    fn diagnostics(&mut self, text: &[u8]) {
        let room = self.diagnostics_room();
        self.diagnostics.extend(text.iter().take(room));
    }

    fn function(
        &mut self,
        name: &str,
        argument: &[u8],
        deadline: Option<Instant>,
    ) -> Option<Result<Vec<u8>, String>> {
        self.functions.call(name, argument, deadline)
    }
}
