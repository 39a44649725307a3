//! The option that leaves the tender unconfined, and what is done without it.

use super::say::say;
use clap::Args;
use coracle_tender::confine::{self, ConfineError, Duty, Files};
use std::os::fd::AsFd;
use std::path::Path;

/// Where KVM is.
const KVM: &str = "/dev/kvm";

#[derive(Debug, Args)]
pub(super) struct Confinement {
    /// Leave this process as it is, for debugging: its system calls and files are not confined to those
    /// that running guests takes
    #[arg(long)]
    no_confine: bool,
}

impl Confinement {
    /// Confines this process to KVM and these files, before any is opened: those that are read, and folders that
    /// are written in.
    pub(super) fn files<'p>(
        &self,
        read: impl IntoIterator<Item = &'p Path>,
        write_in: Option<&Path>,
    ) -> Result<(), ConfineError> {
        if self.no_confine {
            say(
                "coracle: not confined (--no-confine): a guest that breaks out of its machine may do whatever this user may\n",
            );
            return Ok(());
        }
        let mut files = Files::none()?.device(Path::new(KVM))?.read(Path::new("/dev/null"))?;
        for path in read {
            files = files.read(path)?;
        }
        if let Some(folder) = write_in {
            files = files.write_in(folder)?;
        }
        files.confine()
    }

    /// Closes what this process was started with, but for this, which it has opened.
    pub(super) fn descriptors(&self, but: impl AsFd) -> Result<(), ConfineError> {
        if self.no_confine { Ok(()) } else { confine::close_others(but.as_fd()) }
    }

    /// Confines this process to the system calls that its duty takes. It is the last thing before a guest runs.
    pub(super) fn calls(&self, duty: Duty) -> Result<(), ConfineError> {
        if self.no_confine { Ok(()) } else { confine::calls(duty) }
    }
}
