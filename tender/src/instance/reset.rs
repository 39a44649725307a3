//! Makes an instance what its snapshot is, at a cost that depends on what its run has changed.
//!
//! What the guest wrote the machine tells, what the tender wrote [`Written`](crate::memory::Written). Both are
//! copied back, but for page tables: those that were changed the machine changes back, before the guest's next
//! instruction.
//!
//! A page that was written stays writable and listed, costs no fault in later runs, and is copied back
//! after each. Every so often pages are found that no longer change: they are watched anew.

use super::resume::{at_ready, pool};
use super::{End, Instance, Origin};
use crate::calls::Requests;
use crate::cpu::stub;
use crate::layout::PAGE_TABLES;
use crate::machine::{Dead, Machine, MachineError};
use crate::memory::OutOfMemory;
use crate::memory::bits::{set, words};
use crate::paging::Edit;
use crate::snapshot::{Base, Snapshot};
use coracle_hypercall::memory::PAGE;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// After so many runs it is looked for pages that no longer change.
const SEARCH_EVERY: u32 = 4;
/// How many more pages than the last search left make another one due at once.
const MANY_MORE: usize = 64;
/// Pages in a row, no longer changing, whose memory is given back to the host.
const LONG_RUN: u64 = 64;

/// Why an instance cannot be made clean. It is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum Unclean {
    /// It was made from an image.
    #[error("it was booted, and there is no snapshot to go back to")]
    NoSnapshot,
    /// The host did not tell what was written.
    #[error("the host does not tell which pages were written: {0}")]
    Log(io::Error),
    /// The snapshot could not be read.
    #[error("cannot read the snapshot: {0}")]
    Read(io::Error),
    /// Its memory is gone.
    #[error("its memory is gone: the snapshot's file was cut short ({0})")]
    Memory(#[from] OutOfMemory),
    /// The machine cannot go back.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Too many page-table entries were changed.
    #[error("more page-table entries were changed than can be changed back")]
    Tables,
}

/// What a reset did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reset {
    /// Pages that were copied back.
    pub copied: usize,
    /// Pages that are watched anew, since they no longer change.
    pub let_go: usize,
}

/// What resets remember, and room that they use again.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    bits: Vec<u64>,
    /// The pages that the last run has changed, once they were looked for.
    pages: Vec<u64>,
    found: bool,
    runs: u32,
    /// How many pages the last search has left.
    hot: usize,
    /// Page-table entries that are to be changed back, until the stub has done so: a run may end before
    /// its guest has done anything.
    entries: BTreeSet<u64>,
}

impl Cleaner {
    pub(super) fn for_memory(size: u64) -> Cleaner {
        Cleaner { bits: vec![0; words(size)], ..Cleaner::default() }
    }
}

impl Instance {
    /// Makes it what its snapshot is: memory, registers, and all that the tender keeps for it.
    ///
    /// # Errors
    /// Why it is to be thrown away.
    pub fn reset(&mut self) -> Result<Reset, Unclean> {
        let Origin::Snapshot(snapshot) = &self.origin else { return Err(Unclean::NoSnapshot) };
        let snapshot = Arc::clone(snapshot);
        let reset = self.back_to(&snapshot);
        // One that is half of each must not run.
        self.end = reset.is_err().then_some(End::Dead(Dead::Unclean));
        reset
    }

    fn back_to(&mut self, snapshot: &Snapshot) -> Result<Reset, Unclean> {
        let base = &snapshot.base;
        self.machine.finish();
        // The list is empty when all of it was done. Like other pages, it is copied back below.
        if self.machine.tables_are_changed()? {
            self.cleaner.entries.clear();
        }
        if !std::mem::take(&mut self.cleaner.found) {
            self.find_written()?;
        }
        snapshot.learn_hot(&self.cleaner.pages);
        let let_go = self.search(base)?;
        self.copy_back(base)?;
        let edits = self.changes_back(base)?;
        self.machine.put_back(&snapshot.saved, &edits)?;
        self.forget(snapshot);
        Ok(Reset { copied: self.cleaner.pages.len(), let_go })
    }

    /// Lists the pages that the guest or the tender wrote, but for page tables.
    fn find_written(&mut self) -> Result<(), Unclean> {
        let cleaner = &mut self.cleaner;
        self.machine.dirty_pages(&mut cleaner.bits).map_err(Unclean::Log)?;
        cleaner.pages.clear();
        let memory = self.machine.memory();
        let own = memory.written().map(crate::memory::Written::take).into_iter().flatten();
        let tables = PAGE_TABLES / PAGE..self.physical.system_end / PAGE;
        // What the run may not touch is as the snapshot has it already, and not the tender's to touch.
        let end = memory.end() / PAGE;
        for ((word, bits), own) in (0..).zip(&cleaner.bits).zip(own) {
            let mut left = bits | own;
            while left != 0 {
                let page = word * 64 + u64::from(left.trailing_zeros());
                left &= left - 1;
                if !tables.contains(&page) && page < end {
                    cleaner.pages.push(page);
                }
            }
        }
        Ok(())
    }

    /// When a search is due, lets the pages go that are as the snapshot has them although they were
    /// written once. Answers how many.
    fn search(&mut self, base: &Base) -> Result<usize, Unclean> {
        let cleaner = &mut self.cleaner;
        cleaner.runs = cleaner.runs.wrapping_add(1);
        let grown = cleaner.pages.len() > cleaner.hot + MANY_MORE;
        if !grown && !cleaner.runs.is_multiple_of(SEARCH_EVERY) {
            return Ok(0);
        }
        let memory = self.machine.memory();
        let mut quiet = Vec::new();
        let mut failure = None;
        cleaner.pages.retain(|page| match unchanged(memory, base, *page) {
            Ok(false) => true,
            Ok(true) => {
                quiet.push(*page);
                false
            }
            Err(error) => {
                failure.get_or_insert(error);
                true
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        cleaner.hot = cleaner.pages.len();
        self.let_go(&quiet)?;
        Ok(quiet.len())
    }

    /// Watches pages anew, and gives back the memory of many in a row.
    fn let_go(&mut self, pages: &[u64]) -> Result<(), Unclean> {
        let mut rest = pages;
        while let Some((first, _)) = rest.split_first() {
            let together = (0..).zip(rest).take_while(|(index, page)| **page == first + index).count();
            if together as u64 >= LONG_RUN {
                self.machine.memory().discard(*first, together as u64).map_err(Unclean::Read)?;
            }
            rest = rest.get(together..).unwrap_or_default();
        }
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else { return Ok(()) };
        let first_word = (first / 64) as usize;
        let mut bits = vec![0; (last / 64) as usize + 1 - first_word];
        for page in pages {
            set(&mut bits, page - first_word as u64 * 64);
        }
        self.machine.watch_again(first_word, &bits).map_err(Unclean::Log)
    }

    /// How many pages the last run has changed, before they are copied back.
    pub(crate) fn count_written(&mut self) -> Result<usize, Unclean> {
        self.find_written()?;
        self.cleaner.found = true;
        Ok(self.cleaner.pages.len())
    }

    fn copy_back(&mut self, base: &Base) -> Result<(), Unclean> {
        // Each page is asked for first, so that none is missing halfway.
        for page in &self.cleaner.pages {
            base.page(*page).map_err(Unclean::Read)?;
        }
        let source = |page| base.page(page).unwrap_or(std::ptr::null());
        // SAFETY: `source` answers pages of the base for all of these, which lie apart from this memory and
        // are written by nobody. The vCPU does not run: this thread has it.
        unsafe { self.machine.memory().put_back(&self.cleaner.pages, source) }?;
        Ok(())
    }

    /// The page-table entries to change back before the guest goes on.
    fn changes_back(&mut self, base: &Base) -> Result<Vec<Edit>, Unclean> {
        let entries = &mut self.cleaner.entries;
        entries.extend(self.state.edited.take().ok_or(Unclean::Tables)?);
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        if entries.len() > stub::MAX_EDIT_VALUES {
            return Err(Unclean::Tables);
        }
        edits_back(base, entries)
    }

    /// What the tender keeps for the guest is as at the start.
    fn forget(&mut self, snapshot: &Snapshot) {
        let state = &mut self.state;
        state.clock.forget();
        state.pool = pool(snapshot);
        state.events.subscribed = snapshot.subscribed;
        if !Requests::is_fresh(&state.events.requests) {
            state.events.requests = Arc::default();
        }
        state.events.deadline = None;
        state.events.turn = None;
        state.failures.clear();
        state.at_ready = at_ready(snapshot);
        state.reply = Vec::new();
        self.waits_in_call = false;
    }
}

/// The values that the snapshot has in these entries. Tables that were made since are not among them once
/// those entries lead elsewhere again.
fn edits_back(base: &Base, entries: &BTreeSet<u64>) -> Result<Vec<Edit>, Unclean> {
    let mut edits: Vec<Edit> = Vec::new();
    for entry in entries {
        let value = base.read_u64(*entry).map_err(Unclean::Read)?;
        match edits.last_mut() {
            Some(last) if last.entry + 8 * last.values.len() as u64 == *entry => last.values.push(value),
            _ => edits.push(Edit { entry: *entry, values: vec![value] }),
        }
    }
    Ok(edits)
}

/// Whether a page is as the snapshot has it.
fn unchanged(memory: &crate::memory::Memory, base: &Base, page: u64) -> Result<bool, Unclean> {
    let other = base.page(page).map_err(Unclean::Read)?;
    // SAFETY: the base's pages are readable and written by nobody.
    Ok(unsafe { memory.is_like(page, other) }?)
}
