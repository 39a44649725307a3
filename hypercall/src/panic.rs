//! The report of a panic.

use crate::memory::GuestSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The argument of a [`Panic`](crate::call::Call::Panic) call. Texts are treated as those of a
/// [log record](crate::log::LogRecord), but for line breaks, which stay.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PanicReport {
    /// The panic's message.
    pub message: GuestSlice,
    /// The source file that panicked; empty when unknown.
    pub file: GuestSlice,
    /// The line in that file, from 1.
    pub line: u32,
    /// The column in that line, from 1.
    pub column: u32,
}

crate::assert_layout!(PanicReport, size 40, message @ 0, file @ 16, line @ 32, column @ 36);
