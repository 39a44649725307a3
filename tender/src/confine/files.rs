//! What a confined process may open, and what it was started with.

use super::ConfineError;
use crate::memory::Pagemap;
use landlock::{
    ABI, Access, AccessFs, AccessNet, AddRuleError, AddRulesError, CompatLevel, Compatible, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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

    /// And files in this folder, to be made, written, renamed and removed, and those in folders within it.
    ///
    /// # Errors
    /// Landlock's.
    pub fn write_in(self, folder: &Path) -> Result<Files, ConfineError> {
        let access = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
        self.with(folder, access)
    }

    fn with(mut self, path: &Path, access: landlock::BitFlags<AccessFs>) -> Result<Files, ConfineError> {
        let Ok(place) = PathFd::new(path) else { return Ok(self) };
        match (&mut self.0).add_rule(PathBeneath::new(place, access)) {
            Ok(_) => Ok(self),
            // It lies in no file system that has paths, as a pipe: landlock lets those through.
            Err(error) if is_nowhere(&error) => Ok(self),
            Err(error) => Err(error.into()),
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

/// Whether a file has no path that rules could hold for.
fn is_nowhere(error: &RulesetError) -> bool {
    let RulesetError::AddRules(AddRulesError::Fs(AddRuleError::AddRuleCall { source, .. })) = error else {
        return false;
    };
    source.raw_os_error() == Some(libc::EBADFD)
}

/// Closes all descriptors but the standard streams, these, and what the library keeps for itself.
///
/// # Errors
/// The host's. A kernel that cannot (before Linux 5.9) is none.
pub fn close_others(but: &[BorrowedFd<'_>]) -> Result<(), ConfineError> {
    const STREAMS: [u32; 3] = [0, 1, 2];
    let own = Pagemap::kept().map(AsFd::as_fd);
    let kept = but.iter().copied().chain(own).map(|kept| kept.as_raw_fd().cast_unsigned());
    let mut kept: Vec<u32> = STREAMS.into_iter().chain(kept).collect();
    kept.sort_unstable();
    let after = kept.iter().map(|kept| kept + 1);
    let before = kept.iter().skip(1).map(|kept| kept.saturating_sub(1)).chain([u32::MAX]);
    for (first, last) in after.zip(before).filter(|(first, last)| first <= last) {
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
