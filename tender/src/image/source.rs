//! Reading parts of the file, each checked against its length before memory is taken for it.
//!
//! The file is read by position and never mapped: a file that is cut while it is mapped kills the
//! process that looks at it.

use super::error::Refusal;
use std::borrow::Cow;
use std::fs::{File, FileType};
use std::os::unix::fs::{FileExt, FileTypeExt};

/// How much is read at once from the beginning. A small image has all its tables there.
const HEAD: u64 = 4096;

/// How much a [`Window`] holds.
const WINDOW: u64 = 4096;

/// A file of known length, and its beginning.
pub(super) struct Source<'f> {
    file: &'f File,
    length: u64,
    head: Cow<'f, [u8]>,
}

impl<'f> Source<'f> {
    pub(super) fn new(file: &'f File) -> Result<Source<'f>, Refusal> {
        let metadata = file.metadata().map_err(|cause| Refusal::Read { cause })?;
        if !metadata.is_file() {
            return Err(Refusal::NotAFile { what: name_of(metadata.file_type()) });
        }
        let mut source = Source { file, length: metadata.len(), head: Cow::Borrowed(&[]) };
        source.head = Cow::Owned(source.fetch(0, source.length.min(HEAD))?);
        Ok(source)
    }

    /// A file whose length and beginning have been looked at before.
    pub(super) fn known(file: &'f File, length: u64, head: &'f [u8]) -> Source<'f> {
        Source { file, length, head: Cow::Borrowed(head) }
    }

    /// What [`known`](Source::known) takes.
    pub(super) fn into_length_and_head(self) -> (u64, Vec<u8>) {
        (self.length, self.head.into_owned())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The first bytes of the file, all of it when it is small.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The bytes from `offset` on. The caller bounds `length`: a file with holes can be longer than
    /// memory.
    pub(super) fn read(
        &self,
        part: &'static str,
        offset: u64,
        length: u64,
    ) -> Result<Cow<'_, [u8]>, Refusal> {
        let end = self.check(part, offset, length)?;
        let known = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        match known.and_then(|(start, end)| self.head.get(start..end)) {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => Ok(Cow::Owned(self.fetch(offset, length)?)),
        }
    }

    /// Where a part of the file ends, when the file has it.
    pub(super) fn check(&self, part: &'static str, offset: u64, length: u64) -> Result<u64, Refusal> {
        let end = offset.saturating_add(length);
        if end > self.length {
            return Err(Refusal::CutShort { part, end, length: self.length });
        }
        Ok(end)
    }

    /// Reads what is known to be within the file.
    fn fetch(&self, offset: u64, length: u64) -> Result<Vec<u8>, Refusal> {
        let too_long = |_| Refusal::Read { cause: std::io::ErrorKind::FileTooLarge.into() };
        let mut bytes = vec![0; usize::try_from(length).map_err(too_long)?];
        self.file.read_exact_at(&mut bytes, offset).map_err(|cause| Refusal::Read { cause })?;
        Ok(bytes)
    }
}

/// Small reads next to each other, few of which reach the file.
pub(super) struct Window<'s> {
    source: &'s Source<'s>,
    start: u64,
    bytes: Cow<'s, [u8]>,
}

impl<'s> Window<'s> {
    pub(super) fn new(source: &'s Source<'s>) -> Window<'s> {
        Window { source, start: 0, bytes: Cow::Borrowed(source.head()) }
    }

    /// The `N` bytes at `offset`.
    pub(super) fn array<const N: usize>(
        &mut self,
        part: &'static str,
        offset: u64,
    ) -> Result<[u8; N], Refusal> {
        let end = self.source.check(part, offset, N as u64)?;
        if let Some(bytes) = self.held(offset) {
            return Ok(bytes);
        }
        let length = (self.source.length() - offset).min(WINDOW);
        self.bytes = self.source.read(part, offset, length)?;
        self.start = offset;
        self.held(offset).ok_or(Refusal::CutShort { part, end, length: self.source.length() })
    }

    fn held<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(skip..)?.first_chunk().copied()
    }
}

/// Text out of a file, made fit for a terminal.
pub(super) fn printable(bytes: &[u8]) -> String {
    crate::text::escape(&String::from_utf8_lossy(bytes))
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
