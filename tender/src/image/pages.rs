//! Segments cut into runs of pages with the same rights.

use super::error::Refusal;
use super::header::Header;
use super::segments::{Segments, page_down, page_up};
use crate::layout::Extent;
use coracle_hypercall::memory::{PAGE, Rights};
use goblin::elf::program_header::PT_GNU_RELRO;

/// Pages next to each other that have the same rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRun {
    /// The address of the first page, as linked.
    pub start: u64,
    /// The length in bytes, a multiple of the page size.
    pub length: u64,
    /// What the guest may do there once it runs; never nothing, never write and execute.
    pub rights: Rights,
}

impl PageRun {
    /// The address after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// The pages of all segments, with what is relocated once and then only read taken from writing.
pub(super) fn of(segments: &Segments, relro: &[Extent]) -> Result<Vec<PageRun>, Refusal> {
    let mut runs = cut(segments)?;
    for part in relro {
        runs = protect(&runs, page_down(part.start), page_down(part.end()));
    }
    runs.retain(|run| !run.rights.is_empty());
    Ok(runs)
}

/// The parts that are to be read-only after relocation.
pub(super) fn relro(header: &Header) -> Result<Vec<Extent>, Refusal> {
    header
        .of_type(PT_GNU_RELRO)
        .map(|part| match part.p_vaddr.checked_add(part.p_memsz) {
            Some(_) => Ok(Extent { start: part.p_vaddr, length: part.p_memsz }),
            None => Err(Refusal::SegmentOverflow { address: part.p_vaddr }),
        })
        .collect()
}

fn cut(segments: &Segments) -> Result<Vec<PageRun>, Refusal> {
    let mut runs: Vec<PageRun> = Vec::new();
    for segment in segments.iter() {
        let mut start = page_down(segment.address);
        let end = page_up(segment.end());
        // Segments ascend and do not overlap: what two of them share is one page, the last so far.
        if let Some(last) = runs.last_mut()
            && start < last.end()
        {
            let rights = last.rights | segment.rights;
            if rights.contains(Rights::WRITE | Rights::EXECUTE) {
                return Err(Refusal::SharedPage { page: start });
            }
            last.length -= PAGE;
            push(&mut runs, PageRun { start, length: PAGE, rights });
            start += PAGE;
        }
        push(&mut runs, PageRun { start, length: end - start, rights: segment.rights });
    }
    Ok(runs)
}

/// Takes the right to write from the pages of `start..end`, whose ends are rounded as glibc does:
/// both down, since the linker puts the start of what stays writable on a page of its own.
fn protect(runs: &[PageRun], start: u64, end: u64) -> Vec<PageRun> {
    let mut protected = Vec::with_capacity(runs.len() + 2);
    for run in runs {
        let from = start.clamp(run.start, run.end());
        let to = end.clamp(from, run.end());
        let read_only = run.rights - Rights::WRITE;
        push(&mut protected, PageRun { start: run.start, length: from - run.start, rights: run.rights });
        push(&mut protected, PageRun { start: from, length: to - from, rights: read_only });
        push(&mut protected, PageRun { start: to, length: run.end() - to, rights: run.rights });
    }
    protected
}

/// Appends a run, unless it is empty, to the last one if it goes on where that ends.
fn push(runs: &mut Vec<PageRun>, run: PageRun) {
    while runs.last().is_some_and(|last| last.length == 0) {
        runs.pop();
    }
    match runs.last_mut() {
        Some(last) if last.end() == run.start && last.rights == run.rights => last.length += run.length,
        _ if run.length == 0 => {}
        _ => runs.push(run),
    }
}
