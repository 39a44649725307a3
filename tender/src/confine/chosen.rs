//! The option that leaves the tender unconfined, and what is done without it.

use super::{ConfineError, Duty, Files, Kept};
use crate::machine::Host;
use clap::Args;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Whether a command locks itself in, which it does in three steps: when it has opened what runs guests and before
/// it opens another file, when it has opened those that it was given, and before a guest runs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Confinement {
    /// Leave this process as it is, for debugging: its system calls and files are not confined to those
    /// that running guests takes
    #[arg(long)]
    no_confine: bool,
}

impl Confinement {
    /// Confines this process, which has one thread, to these files: those that are read, and a folder that new
    /// ones are written in. Where it is not to be confined, `say` says so.
    ///
    /// # Errors
    /// See [`ConfineError`].
    pub fn files<'p>(
        self,
        read: impl IntoIterator<Item = &'p Path>,
        write_in: Option<&Path>,
        say: impl FnOnce(&str),
    ) -> Result<(), ConfineError> {
        if self.no_confine {
            say(
                "coracle: not confined (--no-confine): a guest that breaks out of its machine may do whatever \
                 this user may\n",
            );
            return Ok(());
        }
        let mut files = Files::none()?;
        for path in read {
            files = files.read(path)?;
        }
        if let Some(folder) = write_in {
            files = files.write_in(folder)?;
        }
        files.confine()
    }

    /// Closes what this process, which has one thread, was started with, but for what it has opened, and gives up
    /// what root may and others may not, but for what it will still do.
    ///
    /// # Errors
    /// See [`ConfineError`].
    pub fn started_with(
        self,
        host: &Host,
        opened: &[BorrowedFd<'_>],
        kept: Kept,
    ) -> Result<(), ConfineError> {
        if self.no_confine {
            return Ok(());
        }
        let kept_open: Vec<_> = host.descriptors().into_iter().chain(opened.iter().copied()).collect();
        super::close_others(&kept_open)?;
        super::give_up_capabilities(kept)
    }

    /// [Prepares](super::prepare) this process for what it cannot do any more afterwards.
    ///
    /// # Errors
    /// See [`ConfineError`].
    pub fn prepare(self) -> Result<(), ConfineError> {
        if self.no_confine { Ok(()) } else { super::prepare() }
    }

    /// Confines this process to the system calls that its duty takes. It is the last thing before a guest runs.
    ///
    /// # Errors
    /// See [`ConfineError`].
    pub fn calls(self, duty: Duty, host: &Host) -> Result<(), ConfineError> {
        if self.no_confine { Ok(()) } else { super::calls(duty, host.backend()) }
    }

    /// Whether it is to be confined.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        !self.no_confine
    }
}
