//! A process that runs guests locks itself in before the first instruction of one: whoever breaks out of a
//! guest into the tender finds a process that can do little more than run guests.
//!
//! | file | what it does |
//! |---|---|
//! | `files` | which files may be opened, by landlock; descriptors that the process was started with |
//! | `capabilities` | what root may and others may not |
//! | `rules` | which system calls there may be, each with its reason |
//! | `filter` | makes them a seccomp filter |
//! | `chosen` | the option of the commands, and what they do in which order |
//!
//! It holds for ever, and for all that the process does, so it is for programs that do nothing else. One that
//! embeds the library confines the threads of a pool alone, by
//! [`confined`](crate::pool::Builder::confined), or itself by what is here.

mod capabilities;
#[cfg(feature = "command")]
mod chosen;
mod files;
mod filter;
pub mod rules;

pub use capabilities::{Kept, give_up_capabilities};
#[cfg(feature = "command")]
pub use chosen::Confinement;
pub use files::{Files, close_others};
pub use rules::Duty;

pub(crate) use filter::Filter;

use crate::machine::Backend;
use crate::memory::Pagemap;
use crate::pool::cpus;
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
    /// Descriptors could not be closed.
    #[error("cannot close the descriptors that this process was started with: {0}")]
    Descriptors(io::Error),
    /// Capabilities could not be given up.
    #[error(
        "cannot give up the capabilities that this process was started with: {0}; --no-confine runs without"
    )]
    Capabilities(io::Error),
    /// The list of its pages.
    #[error("cannot open /proc/self/pagemap, which taking snapshots takes: {0}")]
    Pages(io::Error),
}

/// Opens and asks what taking snapshots and making calls will take, and a confined process cannot any more.
///
/// # Errors
/// The host's.
pub fn prepare() -> Result<(), ConfineError> {
    cpus();
    Pagemap::keep().map_err(ConfineError::Pages)?;
    Ok(())
}

/// Lets all threads of this process make no other system calls than its duty takes. Any other ends the process
/// with SIGSYS. `Auto` allows what either backend takes.
///
/// # Errors
/// Seccomp's. A kernel without seccomp is none.
pub fn calls(duty: Duty, backend: Backend) -> Result<(), ConfineError> {
    Filter::new(duty, backend).confine_process()
}

/// The same for this thread, those that it will start, and processes for guests that they make. It shares the
/// memory of the others: who has taken it over can have them do what it may not. It is one more wall where the
/// whole process is confined, and without that a hindrance.
///
/// # Errors
/// Seccomp's. A kernel without seccomp is none.
pub fn calls_of_thread(duty: Duty, backend: Backend) -> Result<(), ConfineError> {
    Filter::new(duty, backend).confine_thread()
}

/// Whether the kernel has filters of system calls that can end a process (Linux 4.14).
#[must_use]
pub fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads the action, a local.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// The version of the kernel's landlock, if it has that.
#[must_use]
pub fn landlock_version() -> Option<u32> {
    /// LANDLOCK_CREATE_RULESET_VERSION (Linux, include/uapi/linux/landlock.h).
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no structure.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}
