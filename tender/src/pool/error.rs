//! Why a call has no answer.

use crate::instance::Unclean;
use crate::machine::Dead;
use crate::snapshot::ResumeError;
use std::io;
use std::time::Duration;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest answered that it has failed.
    #[error("the guest failed: {reason}")]
    Failed {
        /// Its reason, safe to print.
        reason: String,
        /// What it wrote to standard error.
        diagnostics: Vec<u8>,
    },
    /// The guest, an ordinary program, ended with another status than 0.
    #[error("the guest ended with status {status}")]
    Exited {
        /// The status.
        status: u8,
        /// What it wrote to standard output.
        output: Vec<u8>,
        /// What it wrote to standard error.
        diagnostics: Vec<u8>,
    },
    /// The guest panicked, or the CPU stopped it.
    #[error("the {summary}")]
    Crashed {
        /// What happened, in one line that begins with "guest crashed" or "guest panicked".
        summary: String,
        /// The whole report: backtrace and registers.
        report: String,
        /// What it wrote to standard error.
        diagnostics: Vec<u8>,
    },
    /// The guest used more than it may.
    #[error("the guest {0}")]
    Overran(Overrun),
    /// All instances were in use for as long as the call was willing to wait.
    #[error("no instance was free for {0:?}: all that the pool may have are in use")]
    Busy(Duration),
    /// The caller gave up.
    #[error("the caller no longer waits")]
    Cancelled,
    /// The host could not do its part.
    #[error("the host could not run the guest: {0}")]
    Host(#[from] HostFailure),
}

/// What a call had too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overrun {
    /// Time.
    Time(Duration),
    /// Memory, in bytes of its heap.
    Memory(u64),
    /// Output, in bytes.
    Output(u64),
}

impl std::fmt::Display for Overrun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Overrun::Time(limit) => write!(f, "was still running after {limit:?}"),
            Overrun::Memory(limit) => write!(f, "used more than {limit} bytes of memory"),
            Overrun::Output(limit) => write!(f, "put out more than {limit} bytes"),
        }
    }
}

/// What the host could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostFailure {
    /// Make an instance.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// Run it.
    #[error(transparent)]
    Dead(Dead),
    /// Make it clean again.
    #[error(transparent)]
    Unclean(#[from] Unclean),
    /// Set a limit on its memory.
    #[error("cannot limit the guest's memory: {0}")]
    Limit(io::Error),
    /// Boot the program for a call of its own.
    #[error("{0}")]
    Boot(String),
    /// Start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The pool was dropped while the call waited.
    #[error("the pool is gone")]
    Gone,
    /// This is a child that the process with the pool has forked: the parent alone can run its machines.
    #[error("the pool belongs to the process that has forked this one")]
    Forked,
    /// The log, the source or the sink that the caller has given has panicked.
    #[error("the log, the source or the sink panicked")]
    Panicked,
    /// The guest has done what none can, which is a mistake in Coracle.
    #[error("the guest stopped for a reason that no run has, which is a mistake in Coracle")]
    Unexpected,
}

/// On whose side a call went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The guest failed.
    Guest,
    /// The guest used more than it may.
    Limit,
    /// The host could not, or had no room.
    Host,
    /// The caller gave up.
    Caller,
}

impl CallError {
    /// On whose side it went wrong.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            CallError::Failed { .. } | CallError::Exited { .. } | CallError::Crashed { .. } => Fault::Guest,
            CallError::Overran(_) => Fault::Limit,
            CallError::Busy(_) | CallError::Host(_) => Fault::Host,
            CallError::Cancelled => Fault::Caller,
        }
    }
}
