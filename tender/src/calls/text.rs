//! Log records and panic reports: texts of the guest, for a person to read.

use super::{Context, Events, Reply, State};
use crate::guest::Guest;
use crate::text::{escape, escape_lines};
use coracle_hypercall::call::MAX_TEXT;
use coracle_hypercall::error::CallError;
use coracle_hypercall::log::{Level, LogRecord};
use coracle_hypercall::panic::PanicReport;

/// A log record, safe to print: one of the guest's, or the tender's own, whose target is
/// [`TENDER_TARGET`].
#[derive(Debug)]
pub struct LogEntry<'a> {
    /// How grave it is.
    pub level: Level,
    /// The part of the program that speaks.
    pub target: String,
    /// What it says.
    pub message: String,
    pub(super) events: &'a Events,
}

impl LogEntry<'_> {
    /// Whether the guest must stop. Where records go may have to wait, and the guest waits with it:
    /// whoever waits asks this each time that a signal ends a system call, and gives up on yes.
    #[must_use]
    pub fn must_stop(&self) -> bool {
        self.events.must_stop()
    }
}

/// The target of the tender's own log records.
pub const TENDER_TARGET: &str = "coracle";

/// What a guest said when it panicked, safe to print. Parts that could not be read are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PanicText {
    /// The message.
    pub message: String,
    /// The source file.
    pub file: String,
    /// The line, from 1; 0 when unknown.
    pub line: u32,
    /// The column, from 1; 0 when unknown.
    pub column: u32,
}

impl PanicText {
    pub(super) fn read(guest: &Guest<'_>, report: u64) -> PanicText {
        let Ok(report) = guest.read_struct::<PanicReport>(report) else {
            return PanicText::default();
        };
        let text = |slice| guest.read_text(slice, MAX_TEXT).unwrap_or_default();
        PanicText {
            message: escape_lines(&text(report.message)),
            file: escape(&text(report.file)),
            line: report.line,
            column: report.column,
        }
    }
}

impl State {
    pub(super) fn log(&self, record: u64, context: &mut Context<'_>) -> Reply {
        let entry = match self.log_entry(record, context) {
            Ok(entry) => entry,
            Err(error) => return Reply::Result(Err(error)),
        };
        (context.log)(&entry);
        if self.events.must_stop() { Reply::Stop } else { Reply::Result(Ok(0)) }
    }

    fn log_entry(&self, record: u64, context: &Context<'_>) -> Result<LogEntry<'_>, CallError> {
        let record: LogRecord = context.guest.read_struct(record)?;
        Ok(LogEntry {
            level: Level::from_number(record.level).ok_or(CallError::BadArgument)?,
            target: escape(&context.guest.read_text(record.target, MAX_TEXT)?),
            message: escape(&context.guest.read_text(record.message, MAX_TEXT)?),
            events: &self.events,
        })
    }
}
