//! What a process may that others of its user may not.

use super::ConfineError;
use std::io;

/// What is still done with files that are not this user's, and a process that root has started may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// They are read.
    ReadFiles,
    /// They are made, renamed and removed.
    WriteFiles,
}

/// Bits of capabilities (Linux, include/uapi/linux/capability.h).
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const FOWNER: u64 = 1 << 3;

impl Kept {
    /// What is left of these.
    fn of(self, permitted: u64) -> u64 {
        let kept = match self {
            Kept::Nothing => 0,
            Kept::ReadFiles if permitted & DAC_READ_SEARCH != 0 => DAC_READ_SEARCH,
            Kept::ReadFiles => DAC_OVERRIDE,
            Kept::WriteFiles => DAC_OVERRIDE | FOWNER,
        };
        kept & permitted
    }
}

/// What capget(2) and capset(2) take: whose, which the kernel reads as 0 for the thread that asks.
#[repr(C)]
struct Header {
    version: u32,
    thread: i32,
}

/// Half of the sets.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3.
const VERSION: u32 = 0x2008_0522;

/// Gives up what root may and nobody else, for this thread and those that it starts; so it is to be called while
/// there is one. The bounding set is left, which matters to programs that are executed: a confined process executes none.
///
/// # Errors
/// The host's.
pub fn give_up_capabilities(but: Kept) -> Result<(), ConfineError> {
    let mut header = Header { version: VERSION, thread: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: the kernel fills both halves, as this version has it.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) } != 0 {
        return Err(ConfineError::Capabilities(io::Error::last_os_error()));
    }
    let whole = |of: fn(&Half) -> u32| u64::from(of(&halves[0])) | u64::from(of(&halves[1])) << 32;
    let permitted = whole(|half| half.permitted);
    let kept = but.of(permitted);
    // What is ambient is permitted and inheritable. Most programs have nothing to give up.
    if permitted == kept && whole(|half| half.inheritable) == 0 {
        return Ok(());
    }
    let half = |bits: u64| Half { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let halves = [half(kept), half(kept >> 32)];
    // SAFETY: the kernel reads both halves.
    match unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) } {
        0 => Ok(()),
        _ => Err(ConfineError::Capabilities(io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::{DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, Kept};

    #[test]
    fn of_capabilities_only_those_for_files_are_kept_where_files_are_still_opened() {
        assert_eq!(Kept::Nothing.of(u64::MAX), 0);
        assert_eq!(Kept::ReadFiles.of(u64::MAX), DAC_READ_SEARCH);
        assert_eq!(Kept::ReadFiles.of(DAC_OVERRIDE | FOWNER), DAC_OVERRIDE);
        assert_eq!(Kept::WriteFiles.of(u64::MAX), DAC_OVERRIDE | FOWNER);
        for kept in [Kept::Nothing, Kept::ReadFiles, Kept::WriteFiles] {
            assert_eq!(kept.of(0), 0);
        }
    }
}
