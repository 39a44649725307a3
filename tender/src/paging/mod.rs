//! The guest's page tables (Intel SDM volume 3, chapter 5; AMD APM volume 2, chapter 5).
//!
//! | file | what it does |
//! |---|---|
//! | `build` | writes the tables before the guest's first instruction |
//! | `walk` | translates a guest-virtual address in software, with the rights it has |
//! | `edit` | plans changes of rights, which the CPL-0 stub then writes |
//!
//! Accessed and dirty bits are set from the start, so that no table page is ever written by a walk.

mod build;
mod edit;
mod walk;

#[cfg(test)]
mod tests;

pub use build::{BuildError, Builder, Mapping};
pub use edit::{Edit, EditError, Editor, Pool};
pub use walk::{Access, Leaf, Translation, leaves, walk};
pub(crate) use walk::{Part, each_part};

use crate::memory::{Memory, OutOfMemory};
use coracle_hypercall::memory::Rights;
use x86_64::PhysAddr;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableFlags};

/// Entries in a table.
pub const ENTRIES: u64 = 512;

/// The bytes that one entry of a level covers: level 1 is the page table, 4 the PML4.
#[must_use]
pub const fn entry_span(level: u8) -> u64 {
    4096 << (9 * (level as u64 - 1))
}

/// The address of the entry for `address` in a table of `level` that starts at `table`.
#[must_use]
pub const fn entry_address(table: u64, level: u8, address: u64) -> u64 {
    table + (address / entry_span(level) % ENTRIES) * 8
}

/// Where entries are read from and written to: guest-physical memory.
pub trait EntryMemory {
    /// Reads the entry at a guest-physical address.
    ///
    /// # Errors
    /// When there is no memory.
    fn entry(&self, address: u64) -> Result<PageTableEntry, OutOfMemory>;
    /// Writes the entry at a guest-physical address.
    ///
    /// # Errors
    /// When there is no memory.
    fn set_entry(&mut self, address: u64, entry: &PageTableEntry) -> Result<(), OutOfMemory>;
}

impl EntryMemory for &Memory {
    fn entry(&self, address: u64) -> Result<PageTableEntry, OutOfMemory> {
        self.read_u64(address).map(from_bits)
    }

    fn set_entry(&mut self, address: u64, entry: &PageTableEntry) -> Result<(), OutOfMemory> {
        self.write_u64(address, to_bits(entry))
    }
}

/// An entry from its 64 bits.
#[must_use]
pub fn from_bits(bits: u64) -> PageTableEntry {
    let mut entry = PageTableEntry::new();
    let address = bits & 0x000f_ffff_ffff_f000;
    entry.set_addr(PhysAddr::new_truncate(address), PageTableFlags::from_bits_truncate(bits));
    entry
}

/// The 64 bits of an entry.
#[must_use]
pub fn to_bits(entry: &PageTableEntry) -> u64 {
    entry.addr().as_u64() | entry.flags().bits()
}

/// The flags of an entry that leads to a further table. Rights are decided by the last entry alone,
/// but for CPL 3, which every level must let through.
fn table_flags(user: bool) -> PageTableFlags {
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::ACCESSED;
    if user { flags | PageTableFlags::USER_ACCESSIBLE } else { flags }
}

/// The flags of a last entry. No rights leave it absent.
fn leaf_flags(rights: Rights, user: bool, large: bool) -> PageTableFlags {
    if rights.is_empty() {
        return PageTableFlags::empty();
    }
    let mut flags = PageTableFlags::PRESENT | PageTableFlags::ACCESSED | PageTableFlags::DIRTY;
    flags.set(PageTableFlags::USER_ACCESSIBLE, user);
    flags.set(PageTableFlags::WRITABLE, rights.contains(Rights::WRITE));
    flags.set(PageTableFlags::NO_EXECUTE, !rights.contains(Rights::EXECUTE));
    flags.set(PageTableFlags::HUGE_PAGE, large);
    flags
}

/// The rights that a last entry gives.
pub(crate) fn rights_of(flags: PageTableFlags) -> Rights {
    if !flags.contains(PageTableFlags::PRESENT) {
        return Rights::empty();
    }
    let mut rights = Rights::READ;
    rights.set(Rights::WRITE, flags.contains(PageTableFlags::WRITABLE));
    rights.set(Rights::EXECUTE, !flags.contains(PageTableFlags::NO_EXECUTE));
    rights
}
