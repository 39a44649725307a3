//! Log records.

use crate::memory::GuestSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How grave a log record is, from gravest to most talkative.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something may be wrong.
    Warn = 2,
    /// Something worth knowing.
    Info = 3,
    /// For whoever looks for a fault.
    Debug = 4,
    /// Each step.
    Trace = 5,
}

impl Level {
    /// The level with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Level> {
        match number {
            1 => Some(Level::Error),
            2 => Some(Level::Warn),
            3 => Some(Level::Info),
            4 => Some(Level::Debug),
            5 => Some(Level::Trace),
            _ => None,
        }
    }
}

/// The argument of a [`Log`](crate::call::Call::Log) call. Texts should be UTF-8; the tender
/// replaces what is not, shows control characters in escaped form, and cuts texts at
/// [`MAX_TEXT`](crate::call::MAX_TEXT).
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LogRecord {
    /// A [`Level`]; other numbers are refused with [`BadArgument`](crate::error::CallError::BadArgument).
    pub level: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// The part of the program that speaks, as the `log` crate calls it.
    pub target: GuestSlice,
    /// What it says.
    pub message: GuestSlice,
}

crate::assert_layout!(LogRecord, size 40, level @ 0, reserved @ 4, target @ 8, message @ 24);
