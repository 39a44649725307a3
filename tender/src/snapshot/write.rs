//! Writes a snapshot into a file.

use super::format::{Cpuid, Header, Run};
use crate::memory::Memory;
use coracle_hypercall::memory::PAGE;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use zerocopy::IntoBytes;

/// All of a snapshot's beginning.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Counts, lengths and offsets in it follow from the rest; digests from what is written.
    pub(super) header: Header,
    pub(super) cpuid: Vec<Cpuid>,
    pub(super) runs: Vec<Run>,
    pub(super) name: Vec<u8>,
}

impl Head {
    /// Sets what follows from the tables' lengths.
    pub(super) fn measure(&mut self) {
        let tables = self.cpuid.as_bytes().len() + self.runs.as_bytes().len() + self.name.len();
        let pages = self.runs.iter().map(|run| run.count).sum::<u64>();
        self.header.cpuid_count = self.cpuid.len() as u32;
        self.header.run_count = self.runs.len() as u32;
        self.header.name_length = self.name.len() as u32;
        self.header.data_offset = (Header::LENGTH + tables as u64).next_multiple_of(PAGE);
        self.header.page_count = pages;
        self.header.image_offset = self.header.data_offset + self.header.memory;
    }

    /// All bytes before the pages, with the digest that they get.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let header = Header { head_digest: [0; 32], ..self.header };
        let tables = [header.as_bytes(), self.cpuid.as_bytes(), self.runs.as_bytes(), self.name.as_slice()];
        let mut bytes = tables.concat();
        bytes.resize(self.header.data_offset as usize, 0);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let at = offset_of!(Header, head_digest);
        if let Some(room) = bytes.get_mut(at..at + digest.len()) {
            room.copy_from_slice(&digest);
        }
        bytes
    }
}

/// The runs of pages that are not zero, small gaps between them included, so that they are not too many.
pub(super) fn runs(memory: &Memory) -> io::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut bytes = [0; PAGE as usize];
    for page in memory.backed_pages()? {
        memory.read(page * PAGE, &mut bytes).map_err(io::Error::other)?;
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if page - (last.first + last.count) <= LARGEST_GAP => {
                last.count = page + 1 - last.first;
            }
            _ => runs.push(Run { first: page, count: 1 }),
        }
    }
    Ok(runs)
}

/// Zero pages that are kept rather than ending a run.
const LARGEST_GAP: u64 = 64;

/// Writes the runs' pages.
pub(super) fn pages(memory: &Memory, head: &Head, file: &File) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    for run in &head.runs {
        let (mut at, end) = (run.first * PAGE, (run.first + run.count) * PAGE);
        while at < end {
            let length = (end - at).min(bytes.len() as u64);
            let part = bytes.get_mut(..length as usize).unwrap_or_default();
            memory.read(at, part).map_err(io::Error::other)?;
            file.write_all_at(part, head.header.data_offset + at)?;
            at += length;
        }
    }
    Ok(())
}

/// Copies a part of a file to the end of what another has so far, and takes it into a digest.
pub(super) fn copy(
    from: &File,
    mut at: u64,
    length: u64,
    to: &File,
    mut offset: u64,
    digest: &mut Sha256,
) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    let end = at + length;
    while at < end {
        let count = (end - at).min(bytes.len() as u64);
        let part = bytes.get_mut(..count as usize).unwrap_or_default();
        from.read_exact_at(part, at)?;
        digest.update(&*part);
        to.write_all_at(part, offset)?;
        (at, offset) = (at + count, offset + count);
    }
    Ok(())
}
