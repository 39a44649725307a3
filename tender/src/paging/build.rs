//! Writes the tables before the guest's first instruction.

use super::{EntryMemory, entry_address, entry_span, leaf_flags, table_flags};
use crate::memory::OutOfMemory;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE, Rights};
use x86_64::PhysAddr;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableFlags};

/// Why a mapping could not be made. All but the last are mistakes of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Addresses or length are not whole pages, or leave the lower half of the address space.
    #[error("mapping {0:#x} is not made of whole pages of the lower half")]
    Shape(u64),
    /// A page would be writable and executable.
    #[error("mapping {0:#x} would be writable and executable")]
    WriteExecute(u64),
    /// A page is mapped already.
    #[error("address {0:#x} is mapped already")]
    Taken(u64),
    /// There is no room for a further table.
    #[error("no room for page tables")]
    NoRoom,
    /// A table lies outside of memory.
    #[error("page tables lie outside of memory")]
    Memory,
}

impl From<OutOfMemory> for BuildError {
    fn from(_: OutOfMemory) -> BuildError {
        BuildError::Memory
    }
}

/// A run of pages to map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The first guest-virtual address.
    pub address: u64,
    /// The guest-physical address that it leads to.
    pub physical: u64,
    /// The length in bytes.
    pub length: u64,
    /// What may be done with the pages.
    pub rights: Rights,
    /// Whether CPL 3 may do so.
    pub user: bool,
}

/// Writes page tables into a range of guest-physical memory that is zero.
#[derive(Debug)]
pub struct Builder<M> {
    memory: M,
    root: u64,
    next: u64,
    end: u64,
}

impl<M: EntryMemory> Builder<M> {
    /// Starts with an empty PML4 at `start`; tables are taken one after the other up to `end`.
    ///
    /// # Errors
    /// When there is no room for even one table.
    pub fn new(memory: M, start: u64, end: u64) -> Result<Builder<M>, BuildError> {
        let mut builder = Builder { memory, root: start, next: start, end };
        builder.take_table()?;
        Ok(builder)
    }

    /// The guest-physical address of the PML4, for CR3.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The first guest-physical address that no table uses.
    #[must_use]
    pub fn next_free(&self) -> u64 {
        self.next
    }

    /// Maps a run of pages, by 2 MiB pages wherever both addresses and what is left allow.
    ///
    /// # Errors
    /// See [`BuildError`]. Part of the run may have been mapped then.
    pub fn map(&mut self, mapping: Mapping) -> Result<(), BuildError> {
        let Mapping { address, physical, length, rights, user } = mapping;
        let shape = BuildError::Shape(address);
        let end = address.checked_add(length).ok_or(shape)?;
        physical.checked_add(length).ok_or(shape)?;
        if (address | physical | length) % PAGE != 0 || end > 1 << 47 {
            return Err(shape);
        }
        if rights.contains(Rights::WRITE | Rights::EXECUTE) {
            return Err(BuildError::WriteExecute(address));
        }
        let mut done = 0;
        while done < length {
            let large = (address + done) % LARGE_PAGE == 0
                && (physical + done) % LARGE_PAGE == 0
                && length - done >= LARGE_PAGE;
            let level = if large { 2 } else { 1 };
            // The run of entries of that size within one table, so that the walk down is made once.
            let table = self.table_for(address + done, level, user)?;
            let table_end = ((address + done) / entry_span(level + 1) + 1) * entry_span(level + 1);
            let whole = if large { (length - done) / LARGE_PAGE * LARGE_PAGE } else { length - done };
            let stop = (address + done + whole).min(table_end) - address;
            while done < stop {
                if !large
                    && (address + done) % LARGE_PAGE == 0
                    && (physical + done) % LARGE_PAGE == 0
                    && length - done >= LARGE_PAGE
                {
                    break;
                }
                let at = entry_address(table, level, address + done);
                if !self.memory.entry(at)?.is_unused() {
                    return Err(BuildError::Taken(address + done));
                }
                let mut entry = PageTableEntry::new();
                entry.set_addr(PhysAddr::new_truncate(physical + done), leaf_flags(rights, user, large));
                self.memory.set_entry(at, &entry)?;
                done += entry_span(level);
            }
        }
        Ok(())
    }

    /// The table of `level` that `address` leads through, made where there is none.
    fn table_for(&mut self, address: u64, level: u8, user: bool) -> Result<u64, BuildError> {
        let mut table = self.root;
        for upper in (level + 1..=4).rev() {
            let at = entry_address(table, upper, address);
            let entry = self.memory.entry(at)?;
            let flags = entry.flags();
            if flags.contains(PageTableFlags::HUGE_PAGE) {
                return Err(BuildError::Taken(address));
            }
            let wanted = table_flags(user);
            if !flags.contains(PageTableFlags::PRESENT) {
                table = self.take_table()?;
            } else {
                table = entry.addr().as_u64();
                if flags.contains(wanted) {
                    continue;
                }
            }
            let mut entry = PageTableEntry::new();
            entry.set_addr(PhysAddr::new_truncate(table), flags | wanted);
            self.memory.set_entry(at, &entry)?;
        }
        Ok(table)
    }

    fn take_table(&mut self) -> Result<u64, BuildError> {
        let table = self.next;
        let after = table.checked_add(PAGE).ok_or(BuildError::NoRoom)?;
        if after > self.end {
            return Err(BuildError::NoRoom);
        }
        self.next = after;
        Ok(table)
    }
}
