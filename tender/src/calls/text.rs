//! Log records and panic reports: texts of the guest, for a person to read.

use super::Context;
use crate::guest::Guest;
use crate::text::{escape, escape_lines};
use coracle_hypercall::call::MAX_TEXT;
use coracle_hypercall::error::CallError;
use coracle_hypercall::log::{Level, LogRecord};
use coracle_hypercall::panic::PanicReport;

/// A log record, safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// How grave it is.
    pub level: Level,
    /// The part of the program that speaks.
    pub target: String,
    /// What it says.
    pub message: String,
}

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

pub(super) fn log(record: u64, context: &mut Context<'_>) -> Result<u64, CallError> {
    let record: LogRecord = context.guest.read_struct(record)?;
    let level = Level::from_number(record.level).ok_or(CallError::BadArgument)?;
    let entry = LogEntry {
        level,
        target: escape(&context.guest.read_text(record.target, MAX_TEXT)?),
        message: escape(&context.guest.read_text(record.message, MAX_TEXT)?),
    };
    (context.log)(&entry);
    Ok(0)
}
