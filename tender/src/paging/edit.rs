//! Plans changes of rights.
//!
//! Once the guest has run, entries are written by the CPL-0 stub alone: a KVM that shadows page
//! tables does not notice what user space writes into them. So a change is a list of [`Edit`]s,
//! runs of entries with their new values, that the stub copies. A large page whose parts get
//! different rights is first split: its new table comes from a [`Pool`]. Pages that no walk has ever
//! read the tender may fill itself; others the stub fills too.

use super::{
    ENTRIES, EntryMemory, entry_address, entry_span, from_bits, leaf_flags, rights_of, table_flags, to_bits,
};
use crate::memory::OutOfMemory;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE, Rights};
use std::ops::Range;
use x86_64::PhysAddr;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableFlags};

/// New values for a run of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The guest-physical address of the first entry.
    pub entry: u64,
    /// The new values.
    pub values: Vec<u64>,
}

/// Why a change cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The range holds an address that was never mapped.
    #[error("the range is not all mapped")]
    NotMapped,
    /// The pool of tables is used up, or a table is outside of memory.
    #[error("no room for page tables")]
    NoRoom,
}

impl From<OutOfMemory> for EditError {
    fn from(_: OutOfMemory) -> EditError {
        EditError::NoRoom
    }
}

/// Pages for further tables: guest-physical, no part of the tables yet.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// The next page to take.
    pub next: u64,
    /// The end of the pool.
    pub end: u64,
    /// Whether walks may have read these pages, in a run before this one.
    pub used: bool,
}

impl Pool {
    fn take(&mut self) -> Result<u64, EditError> {
        let page = self.next;
        let after = page.checked_add(PAGE).ok_or(EditError::NoRoom)?;
        if after > self.end {
            return Err(EditError::NoRoom);
        }
        self.next = after;
        Ok(page)
    }
}

/// Plans changes under one PML4.
#[derive(Debug)]
pub struct Editor<'a, M> {
    /// The memory that holds the tables.
    pub memory: M,
    /// The guest-physical address of the PML4.
    pub root: u64,
    /// Where new tables come from.
    pub pool: &'a mut Pool,
}

impl<M: EntryMemory> Editor<'_, M> {
    /// Plans new rights for the pages from `address` on, which lead to `physical` and on from there, up to
    /// `length` bytes but no more than `max_values` entries. Gives the edits and how many bytes they cover,
    /// at least one page.
    ///
    /// A pool that was used takes more entries than a table has.
    ///
    /// Pages must be user pages of one place, whose guest-physical memory is contiguous. Where they lead is
    /// never taken from their entries, which a snapshot may have forged.
    ///
    /// # Errors
    /// See [`EditError`]; nothing that the guest can see has changed then.
    pub fn plan(
        &mut self,
        address: u64,
        physical: u64,
        length: u64,
        rights: Rights,
        max_values: usize,
    ) -> Result<(Vec<Edit>, u64), EditError> {
        let mut edits: Vec<Edit> = Vec::new();
        let mut values = 0;
        let mut done = 0;
        while done < length && values < max_values {
            let (here, leads_to) = (address + done, physical + done);
            let directory = self.directory_entry(here)?;
            let entry = self.memory.entry(directory)?;
            let flags = entry.flags();
            let is_table =
                flags.contains(PageTableFlags::PRESENT) && !flags.contains(PageTableFlags::HUGE_PAGE);
            if !is_table && here % LARGE_PAGE != leads_to % LARGE_PAGE {
                return Err(EditError::NotMapped);
            }
            let (at, level) = if is_table {
                (entry_address(entry.addr().as_u64(), 1, here), 1)
            } else if here.is_multiple_of(LARGE_PAGE) && length - done >= LARGE_PAGE {
                (directory, 2)
            } else {
                let used = self.pool.used;
                if used && done > 0 && values + ENTRIES as usize >= max_values {
                    break;
                }
                let table = self.pool.take()?;
                let stop = (here / LARGE_PAGE + 1) * LARGE_PAGE - address;
                let stop = stop.min(length);
                let changed = here % LARGE_PAGE..here % LARGE_PAGE + (stop - done);
                let large = leads_to - here % LARGE_PAGE;
                let entries = split(large, rights_of(flags), rights, &changed);
                if used {
                    values += entries.len();
                    edits.push(Edit { entry: table, values: entries });
                } else {
                    // The new table is not yet part of any walk: it is filled here and now.
                    for (index, value) in (0..).zip(entries) {
                        self.memory.set_entry(table + index * 8, &from_bits(value))?;
                    }
                }
                done = stop;
                let mut pointer = PageTableEntry::new();
                pointer.set_addr(PhysAddr::new_truncate(table), table_flags(true));
                push(&mut edits, directory, to_bits(&pointer));
                values += 1;
                continue;
            };
            push(&mut edits, at, leads_to | leaf_flags(rights, true, level == 2).bits());
            values += 1;
            done += entry_span(level);
        }
        Ok((edits, done))
    }

    /// The guest-physical address of the directory entry (level 2) for an address.
    fn directory_entry(&self, address: u64) -> Result<u64, EditError> {
        let mut table = self.root;
        for level in [4, 3] {
            let entry = self.memory.entry(entry_address(table, level, address))?;
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) || flags.contains(PageTableFlags::HUGE_PAGE) {
                return Err(EditError::NotMapped);
            }
            table = entry.addr().as_u64();
        }
        let at = entry_address(table, 2, address);
        if self.memory.entry(at)?.is_unused() {
            return Err(EditError::NotMapped);
        }
        Ok(at)
    }
}

/// The entries of a table that maps what a large page at the guest-physical address `start` does, but for
/// those bytes of it that get other rights.
fn split(start: u64, before: Rights, rights: Rights, changed: &Range<u64>) -> Vec<u64> {
    let entry = |offset| {
        let rights = if changed.contains(&offset) { rights } else { before };
        (start + offset) | leaf_flags(rights, true, false).bits()
    };
    (0..ENTRIES).map(|index| entry(index * PAGE)).collect()
}

/// Adds a value to the last edit where it continues that run, else starts another.
fn push(edits: &mut Vec<Edit>, entry: u64, value: u64) {
    match edits.last_mut() {
        Some(last) if last.entry + 8 * last.values.len() as u64 == entry => last.values.push(value),
        _ => edits.push(Edit { entry, values: vec![value] }),
    }
}
