//! What a confined process may open, and what it was started with.

use super::ConfineError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// The newest landlock that is asked for; an older one does what it can (Linux, Documentation/userspace-api/
/// landlock.rst: files from 5.13 on, TCP from 6.7, signals and abstract sockets from 6.12).
const NEWEST: ABI = ABI::V6;

/// Files that may be opened. Those that are open stay so.
#[derive(Debug)]
pub struct Files(RulesetCreated);

impl Files {
    /// None.
    ///
    /// # Errors
    /// Landlock's. A kernel without landlock is none.
    pub fn none() -> Result<Files, ConfineError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let rules = rules.handle_access(AccessFs::from_all(NEWEST))?;
        let rules = rules.handle_access(AccessNet::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))?;
        Ok(Files(rules.create()?))
    }

    /// And this one, to be read. One that is not there is left out: opening it fails by itself.
    ///
    /// # Errors
    /// Landlock's.
    pub fn read(self, path: &Path) -> Result<Files, ConfineError> {
        self.with(path, AccessFs::ReadFile.into())
    }

    /// And this one, to be read, written, and controlled as a device.
    ///
    /// # Errors
    /// Landlock's.
    pub fn device(self, path: &Path) -> Result<Files, ConfineError> {
        self.with(path, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev)
    }

    /// And files in this folder, to be made, written, renamed and removed.
    ///
    /// # Errors
    /// Landlock's.
    pub fn write_in(self, folder: &Path) -> Result<Files, ConfineError> {
        let access = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
        self.with(folder, access)
    }

    fn with(self, path: &Path, access: landlock::BitFlags<AccessFs>) -> Result<Files, ConfineError> {
        match PathFd::new(path) {
            Ok(place) => Ok(Files(self.0.add_rule(PathBeneath::new(place, access))?)),
            Err(_) => Ok(self),
        }
    }

    /// From now on, for this thread and those that it starts. So it is to be called while there is one thread.
    ///
    /// # Errors
    /// Landlock's.
    pub fn confine(self) -> Result<(), ConfineError> {
        self.0.restrict_self()?;
        Ok(())
    }
}

/// Closes all descriptors but the standard streams and this one.
///
/// # Errors
/// The host's. A kernel that cannot (before Linux 5.9) is none.
pub fn close_others(but: BorrowedFd<'_>) -> Result<(), ConfineError> {
    const FIRST: u32 = 3;
    let kept = but.as_raw_fd().cast_unsigned();
    let below = (kept > FIRST).then(|| (FIRST, kept - 1));
    let above = (kept.max(FIRST - 1) + 1, u32::MAX);
    for (first, last) in below.into_iter().chain([above]) {
        // SAFETY: called before anything else is opened, these are nobody's in this process.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == -1 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOSYS) {
                return Err(ConfineError::Descriptors(error));
            }
        }
    }
    Ok(())
}
