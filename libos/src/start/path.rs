//! Paths of files on Linux, put together without a heap.

use super::linux::{self, Errno};
use core::ffi::{CStr, c_char};

/// The longest path that Linux takes, with its NUL.
const PATH_MAX: usize = 4096;

/// A path, always with a NUL behind it.
pub(super) struct Path {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Path {
    pub(super) const fn new() -> Path {
        Path { bytes: [0; PATH_MAX], length: 0 }
    }

    /// The parts one after the other; empty, which names no file, when they are too long.
    #[inline(never)]
    pub(super) fn joined(parts: &[&[u8]]) -> Path {
        let mut path = Path::new();
        for part in parts {
            let end = path.length + part.len();
            // The last byte stays NUL.
            match path.bytes[..PATH_MAX - 1].get_mut(path.length..end) {
                Some(place) => place.copy_from_slice(part),
                None => return Path::new(),
            }
            path.length = end;
        }
        path
    }

    /// Becomes what a symbolic link leads to.
    pub(super) fn read_link(&mut self, link: &CStr) -> Result<(), Errno> {
        self.length = linux::read_link(link, &mut self.bytes[..PATH_MAX - 1])?;
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The path as a C string.
    pub(super) const fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    /// All before the last slash.
    pub(super) fn folder(&self) -> &[u8] {
        let bytes = self.bytes();
        let slash = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        bytes.get(..slash).unwrap_or_default()
    }
}
