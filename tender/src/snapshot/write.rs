//! Writes a snapshot into a file.

use super::format::{Cpuid, Header, MOST_RUNS, Run};
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

/// The runs of pages that are not zero, gaps between them included, so that they are not too many.
pub(super) fn runs(memory: &Memory) -> io::Result<Vec<Run>> {
    let mut runs = Runs::default();
    let mut bytes = [0; PAGE as usize];
    for page in memory.backed_pages()? {
        memory.read(page * PAGE, &mut bytes).map_err(io::Error::other)?;
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        runs.add(Run { first: page, count: 1 });
    }
    Ok(runs.runs)
}

/// Runs in ascending order, of which there are never more than the format has room for.
#[derive(Debug)]
struct Runs {
    runs: Vec<Run>,
    /// Zero pages that are kept rather than ending a run.
    largest_gap: u64,
}

impl Default for Runs {
    fn default() -> Runs {
        Runs { runs: Vec::new(), largest_gap: 64 }
    }
}

impl Runs {
    /// Adds one that begins behind the others.
    fn add(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if run.first - (last.first + last.count) <= self.largest_gap => {
                last.count = run.first + run.count - last.first;
            }
            _ => self.runs.push(run),
        }
        while self.runs.len() > MOST_RUNS as usize {
            self.largest_gap = self.largest_gap.saturating_mul(2);
            std::mem::take(&mut self.runs).into_iter().for_each(|run| self.add(run));
        }
    }
}

/// Writes the runs' pages.
pub(super) fn pages(memory: &Memory, head: &Head, file: &File) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    for run in &head.runs {
        let (mut at, end) = (run.first * PAGE, (run.first + run.count) * PAGE);
        while at < end {
            let length = (end - at).min(bytes.len() as u64);
            let part = bytes.get_mut(..length as usize).unwrap_or_default();
            memory.read(at, part).map_err(io::Error::other)?;
            write_all_but_zeros(file, part, head.header.data_offset + at)?;
            at += length;
        }
    }
    Ok(())
}

/// Writes pages to a part of a file that was never written: those that are zero stay holes.
fn write_all_but_zeros(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let pages = (offset..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize));
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    pages.filter(|(_, page)| !is_zero(page)).try_for_each(|(at, page)| file.write_all_at(page, at))
}

/// Copies a part of a file to a part of another that was never written, and takes it into a digest. Zeros at
/// the end may be left for the other's length to say.
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
        write_all_but_zeros(to, part, offset)?;
        (at, offset) = (at + count, offset + count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MOST_RUNS, Run, Runs};

    /// The runs of pages that lie so far from each other.
    fn runs(pages: u64, step: u64) -> Vec<Run> {
        let mut runs = Runs::default();
        (0..pages).for_each(|page| runs.add(Run { first: page * step, count: 1 }));
        runs.runs
    }

    #[test]
    fn pages_with_small_gaps_are_one_run() {
        assert_eq!(runs(100, 65), [Run { first: 0, count: 99 * 65 + 1 }]);
        assert_eq!(runs(100, 66).len(), 100);
        assert_eq!(runs(1024, 66).len(), 1024);
    }

    #[test]
    fn runs_are_never_too_many_and_hold_all_pages() {
        for (pages, step) in [(1025, 66), (5000, 66), (4000, 130), (100_000, 1000), (1025, 1 << 40)] {
            let runs = runs(pages, step);
            assert!((1..=MOST_RUNS as usize).contains(&runs.len()), "{pages} {step}");
            assert!(runs.is_sorted_by(|a, b| a.first + a.count < b.first), "{pages} {step}");
            let holds = |page| runs.iter().any(|run| (run.first..run.first + run.count).contains(&page));
            assert!((0..pages).step_by(97).all(|page| holds(page * step)), "{pages} {step}");
        }
    }
}
