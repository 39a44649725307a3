//! Translates guest-virtual addresses in software, as the CPU would at CPL 3.

use super::{ENTRIES, EntryMemory, entry_address, entry_span, rights_of, to_bits};
use crate::memory::OutOfMemory;
use coracle_hypercall::memory::Rights;
use x86_64::structures::paging::page_table::PageTableFlags;

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub physical: u64,
    /// How many bytes from there on belong to the same page.
    pub left: u64,
    /// What may be done with the page.
    pub rights: Rights,
    /// Whether CPL 3 may do so.
    pub user: bool,
}

/// What a caller wants to do with guest memory on behalf of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

impl Translation {
    /// Whether the guest itself may do this here.
    #[must_use]
    pub fn allows(&self, access: Access) -> bool {
        let wanted = match access {
            Access::Read => Rights::READ,
            Access::Write => Rights::WRITE,
        };
        self.user && self.rights.contains(wanted)
    }
}

/// Translates `address` under the PML4 at `root`. `None` where nothing is mapped.
///
/// # Errors
/// When a table lies outside of memory.
pub fn walk<M: EntryMemory>(memory: &M, root: u64, address: u64) -> Result<Option<Translation>, OutOfMemory> {
    if address >> 47 != 0 {
        return Ok(None);
    }
    let mut table = root;
    let mut user = true;
    let mut writable = true;
    for level in (1..=4).rev() {
        let entry = memory.entry(entry_address(table, level, address))?;
        let flags = entry.flags();
        if !flags.contains(PageTableFlags::PRESENT) {
            return Ok(None);
        }
        user &= flags.contains(PageTableFlags::USER_ACCESSIBLE);
        writable &= flags.contains(PageTableFlags::WRITABLE);
        let span = entry_span(level);
        if level == 1 || flags.contains(PageTableFlags::HUGE_PAGE) {
            let offset = address % span;
            let physical = entry.addr().as_u64() + offset;
            let mut rights = rights_of(flags);
            rights.set(Rights::WRITE, writable);
            return Ok(Some(Translation { physical, left: span - offset, rights, user }));
        }
        table = entry.addr().as_u64();
    }
    Ok(None)
}

/// A page that the tables map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its guest-virtual address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Where it leads.
    pub translation: Translation,
}

/// Lists every page that the tables under `root` map.
///
/// # Errors
/// When a table lies outside of memory.
pub fn leaves<M: EntryMemory>(memory: &M, root: u64) -> Result<Vec<Leaf>, OutOfMemory> {
    let mut found = Vec::new();
    each_part(memory, root, |part| {
        if let Part::Leaf(leaf) = part {
            found.push(leaf);
        }
        Ok::<(), OutOfMemory>(())
    })?;
    found.sort_by_key(|leaf| leaf.address);
    Ok(found)
}

/// Something that the tables hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A table at this guest-physical address, before anything of it is read.
    Table(u64),
    /// A page.
    Leaf(Leaf),
    /// An entry of a level, for this address, that says something and maps nothing.
    Absent { address: u64, level: u8, bits: u64 },
    /// The table that began last has no entry that says anything.
    Empty,
}

/// Hands all that the tables under `root` hold to `each`, until that has an error. A table is walked as often
/// as an entry leads to it, so it is for `each` to end a walk in circles. Addresses of the upper half are
/// those that they were without their sign, `1 << 47` and more.
pub(crate) fn each_part<M: EntryMemory, E: From<OutOfMemory>>(
    memory: &M,
    root: u64,
    mut each: impl FnMut(Part) -> Result<(), E>,
) -> Result<(), E> {
    let mut open = vec![Open { table: root, level: 4, base: 0, user: true, writable: true }];
    while let Some(Open { table, level, base, user, writable }) = open.pop() {
        each(Part::Table(table))?;
        let span = entry_span(level);
        let mut empty = true;
        for index in 0..ENTRIES {
            let entry = memory.entry(table + index * 8)?;
            let (flags, physical) = (entry.flags(), entry.addr().as_u64());
            let address = base + index * span;
            let (user, writable) = (
                user && flags.contains(PageTableFlags::USER_ACCESSIBLE),
                writable && flags.contains(PageTableFlags::WRITABLE),
            );
            empty &= entry.is_unused();
            if !flags.contains(PageTableFlags::PRESENT) {
                if !entry.is_unused() {
                    each(Part::Absent { address, level, bits: to_bits(&entry) })?;
                }
            } else if level == 1 || flags.contains(PageTableFlags::HUGE_PAGE) {
                let mut rights = rights_of(flags);
                rights.set(Rights::WRITE, writable);
                let translation = Translation { physical, left: span, rights, user };
                each(Part::Leaf(Leaf { address, size: span, translation }))?;
            } else {
                open.push(Open { table: physical, level: level - 1, base: address, user, writable });
            }
        }
        if empty {
            each(Part::Empty)?;
        }
    }
    Ok(())
}

/// A table that is still to be walked.
struct Open {
    table: u64,
    level: u8,
    base: u64,
    user: bool,
    writable: bool,
}
