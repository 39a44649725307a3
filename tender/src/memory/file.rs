//! Guest memory that lies in a file, for another process to map.

use super::Memory;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};

/// What a file of guest memory has beyond that, for the tender's own use in the process that maps it.
pub(crate) const BEYOND: u64 = 16 << 10;

/// Linux 6.3 and newer want to be told that parts of a file in memory will be executable.
pub(crate) const MFD_EXEC: libc::c_uint = 0x10;

impl Memory {
    /// The file that it lies in, where it was made so.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Has the host back whole large pages of a file with huge pages now. Where it has none just now, small ones
    /// are there when they are needed. The tender's own mapping is the one that is asked, so that nobody else is
    /// woken for it.
    ///
    /// # Errors
    /// `InvalidInput` from a kernel that does not do this (Linux before 6.1).
    pub(crate) fn back_huge_in_file(&self, pages: &Range<u64>) -> io::Result<()> {
        /// MADV_COLLAPSE.
        const COLLAPSE: libc::c_int = 25;
        // The kernel makes a huge page of one that has something already, where it is mapped (Linux 6.1 is content
        // with no less).
        for address in pages.clone().step_by(LARGE_PAGE as usize) {
            self.ask(address, PAGE, libc::MADV_POPULATE_READ)?;
        }
        self.ask(pages.start, pages.end.saturating_sub(pages.start), COLLAPSE)
    }

    /// The same where the memory is shared, which is as it was only where it is zero.
    pub(super) fn discard_zeros(&self, file: &File, first_page: u64, count: u64) -> io::Result<()> {
        let mut bytes = [0; PAGE as usize];
        for page in first_page..first_page.saturating_add(count) {
            self.read(page * PAGE, &mut bytes).map_err(io::Error::other)?;
            if bytes.iter().all(|byte| *byte == 0) {
                punch(file, page * PAGE, PAGE)?;
            }
        }
        Ok(())
    }

    /// The pages of the file that it lies in, by their numbers: all others are zero.
    pub(crate) fn pages_in_file(&self) -> io::Result<Vec<Range<u64>>> {
        self.pages_in_file_of(0..self.size() / PAGE)
    }

    /// The same of some pages.
    pub(crate) fn pages_in_file_of(&self, pages: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the call takes numbers alone.
        let seek = |from: u64, whence| unsafe { libc::lseek(file.as_raw_fd(), from as i64, whence) };
        let last = pages.end.saturating_mul(PAGE).min(self.size());
        let mut found = Vec::new();
        let mut at = pages.start.saturating_mul(PAGE);
        while at < last {
            let Ok(start) = u64::try_from(seek(at, libc::SEEK_DATA)) else {
                match io::Error::last_os_error() {
                    // There is no more.
                    error if error.raw_os_error() == Some(libc::ENXIO) => break,
                    error => return Err(error),
                }
            };
            if start >= last {
                break;
            }
            let end = u64::try_from(seek(start, libc::SEEK_HOLE)).map_err(|_| io::Error::last_os_error())?;
            let end = end.min(last);
            found.push(start / PAGE..end.div_ceil(PAGE));
            at = end.max(start + PAGE);
        }
        Ok(found)
    }
}

/// A file in memory, of this length and a little more.
pub(super) fn make(size: u64) -> io::Result<File> {
    // SAFETY: the name is a C string; the call gives a new descriptor or an error.
    let make = |flags| unsafe { libc::memfd_create(c"coracle-guest".as_ptr(), libc::MFD_CLOEXEC | flags) };
    let mut descriptor = make(MFD_EXEC);
    if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        descriptor = make(0);
    }
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(descriptor) };
    file.set_len(size.checked_add(BEYOND).ok_or(io::ErrorKind::InvalidInput)?)?;
    Ok(file)
}

/// Gives a part of a file in memory back: it is zero then.
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    const HOLE: libc::c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let range = |value: u64| libc::off_t::try_from(value).map_err(io::Error::other);
    // SAFETY: the call takes numbers alone.
    match unsafe { libc::fallocate(file.as_raw_fd(), HOLE, range(offset)?, range(length)?) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
