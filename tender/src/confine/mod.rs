//! The process of a command locks itself in before the first instruction of a guest: whoever breaks out of a
//! guest into the tender finds a process that can do little more than run guests.
//!
//! | file | what it does |
//! |---|---|
//! | `files` | which files may be opened, by landlock; descriptors that the process was started with |
//! | `rules` | which system calls there may be, each with its reason |
//! | `filter` | makes them a seccomp filter |
//!
//! It holds for the whole process and for ever, so it is for processes that do nothing else. A program that
//! embeds the library confines itself as it needs.

mod files;
mod filter;
mod rules;

pub use files::{Files, close_others};
pub use rules::{ALL, Argument, Duty, Rule};

use std::io;

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// Landlock exists and refused.
    #[error("cannot confine the tender to its files (landlock): {0}; --no-confine runs without")]
    Files(#[from] landlock::RulesetError),
    /// Seccomp refused.
    #[error("cannot confine the tender to its system calls (seccomp): {0}; --no-confine runs without")]
    Calls(#[from] seccompiler::Error),
    /// The rules make no filter.
    #[error("cannot make a filter of system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// Descriptors could not be closed.
    #[error("cannot close the descriptors that this process was started with: {0}")]
    Descriptors(io::Error),
}

/// Lets all threads of this process make no other system calls than its duty needs. Any other ends the process
/// with SIGSYS.
///
/// # Errors
/// Seccomp's.
pub fn calls(duty: Duty) -> Result<(), ConfineError> {
    filter::apply(&filter::of(duty)?)
}
