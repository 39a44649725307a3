//! Where everything lies, in guest-physical and in guest-virtual memory.
//!
//! Guest-physical memory is one run from 0:
//!
//! ```text
//!   0x00_0000  tables page      GDT, IDT, TSS
//!   0x00_1000  stub             the only code at CPL 0
//!   0x00_2000  fault stack      what the CPU pushes at a fault
//!   0x00_3000  edit list        page-table entries for the stub to write
//!   0x01_4000  boot page, entry page                       (user)
//!   0x01_6000  page tables
//!              pool of further page tables
//!   ...        image, page by page                         (user)
//!   2 MiB × n  stack, in large pages                       (user)
//!   2 MiB × m  heap, in large pages, to the end            (user)
//! ```
//!
//! Guest-virtual places are random (see `coracle_hypercall::memory`).

use coracle_hypercall::memory::{LARGE_PAGE, PAGE};

/// The page with GDT, IDT and TSS.
pub const TABLES: u64 = 0;
/// The page with the stub.
pub const STUB: u64 = PAGE;
/// The page whose end is the stack of faults.
pub const FAULT_STACK: u64 = 2 * PAGE;
/// The end of that page: where the CPU begins to push.
pub const FAULT_STACK_TOP: u64 = FAULT_STACK + PAGE;
/// The list of edits that the stub applies.
pub const EDIT_LIST: u64 = 3 * PAGE;
/// The bytes of that list.
pub const EDIT_LIST_LENGTH: u64 = 17 * PAGE;
/// The boot page; the entry page follows it.
pub const BOOT: u64 = EDIT_LIST + EDIT_LIST_LENGTH;
/// Where in the boot page the vCPU's extended state lies that an instance of a snapshot begins with, in the
/// form of `xsave`, and how long it may be.
pub const EXTENDED_OFFSET: u64 = 192;
/// See there.
pub const EXTENDED_LENGTH: u64 = CLOCK_OFFSET - EXTENDED_OFFSET;
/// Where in the boot page the clock page's structure lies.
pub const CLOCK_OFFSET: u64 = PAGE / 4 * 3;
/// Where in the boot page the address stands that such an instance goes on at.
pub const TARGET_OFFSET: u64 = PAGE - 8;
/// The entry page.
pub const ENTRY: u64 = BOOT + PAGE;
/// The first page table, the PML4.
pub const PAGE_TABLES: u64 = ENTRY + PAGE;

/// The least that a guest's stack and heap are given, in bytes.
const LEAST_STACK: u64 = LARGE_PAGE;
const LEAST_HEAP: u64 = LARGE_PAGE;
/// What a stack is given where there is memory enough, as Linux does.
const USUAL_STACK: u64 = 8 << 20;

/// The bytes of a slot: what one PML4 entry covers.
const SLOT: u64 = 512 << 30;
/// Slots of the lower half.
const SLOTS: u64 = 256;

/// Why a guest does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Image, least stack and least heap need more memory than there is.
    #[error(
        "the image needs at least {needed} of memory and --mem gives it {}: pass --mem {needed}",
        size_down(*.given), needed = size_up(*.needed)
    )]
    TooBig {
        /// What it needs, in bytes.
        needed: u64,
        /// What there is, in bytes.
        given: u64,
    },
    /// No machine has so much.
    #[error(
        "--mem {} is more memory than a machine can have here: pass --mem {} or less",
        size_down(*.given), size_down(*.most)
    )]
    TooMuch {
        /// What was asked for, in bytes.
        given: u64,
        /// What a machine can have, in bytes.
        most: u64,
    },
    /// The heap does not hold the thread-local storage of the first thread.
    #[error(
        "the image's thread-local storage takes {} and its heap has only {}: pass --mem {}",
        size_up(*.storage), size_down(*.heap), size_up(*.needed)
    )]
    ThreadLocal {
        /// What the storage takes, in bytes.
        storage: u64,
        /// What the heap has, in bytes.
        heap: u64,
        /// With how much memory it would do, in bytes.
        needed: u64,
    },
}

const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];

/// A size in bytes as `--mem` takes it: exact where that is short, else rounded down.
pub(crate) fn size_down(bytes: u64) -> String {
    short(bytes, |tenths, unit| tenths / unit)
}

/// The same, rounded up.
fn size_up(bytes: u64) -> String {
    short(bytes, |tenths, unit| tenths.div_ceil(unit))
}

fn short(bytes: u64, divide: impl Fn(u128, u128) -> u128) -> String {
    const SHORT: u64 = 10_000;
    let exact = UNITS.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    if let Some((unit, letter)) = exact.filter(|(unit, letter)| *letter == 'T' || bytes / unit < SHORT) {
        return format!("{}{letter}", bytes / unit);
    }
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => {
            let tenths = divide(u128::from(bytes) * 10, u128::from(unit));
            format!("{}.{}{letter}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes}"),
    }
}

/// A run of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first address.
    pub start: u64,
    /// The length in bytes. Start and length together never overflow.
    pub length: u64,
}

impl Extent {
    /// The address after the last.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start + self.length
    }

    /// Whether `address` lies within.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        address >= self.start && address - self.start < self.length
    }
}

/// Guest-physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Physical {
    /// All of it, in bytes.
    pub size: u64,
    /// Everything that only CPL 0 and the tender touch lies below this, but for boot and entry page.
    pub system_end: u64,
    /// Where the image is put.
    pub image: Extent,
    /// The stack.
    pub stack: Extent,
    /// The heap.
    pub heap: Extent,
}

impl Physical {
    /// Divides `memory` bytes for an image of `image` bytes (whole pages).
    ///
    /// # Errors
    /// When it does not fit.
    pub fn divide(memory: u64, image: u64) -> Result<Physical, LayoutError> {
        let needed = least_memory(image);
        let size = memory / LARGE_PAGE * LARGE_PAGE;
        let too_big = LayoutError::TooBig { needed, given: memory };
        if size < needed {
            return Err(too_big);
        }
        let system_end = system_length(size, image);
        let small = (system_end + image).next_multiple_of(LARGE_PAGE);
        // What the tables of a large memory take may be more than `needed` reckons with.
        let left = size.checked_sub(small).filter(|left| *left >= LEAST_STACK + LEAST_HEAP).ok_or(too_big)?;
        let stack = (left / 8 / LARGE_PAGE * LARGE_PAGE).clamp(LEAST_STACK, USUAL_STACK);
        Ok(Physical {
            size,
            system_end,
            image: Extent { start: system_end, length: image },
            stack: Extent { start: small, length: stack },
            heap: Extent { start: small + stack, length: left - stack },
        })
    }

    /// Checks that the heap holds the first thread's storage of so many bytes (with what is needed
    /// to align it).
    ///
    /// # Errors
    /// When it does not.
    pub fn check_thread_local(&self, storage: u64) -> Result<(), LayoutError> {
        // The storage ends in a small block that every thread has.
        let room = storage.saturating_add(PAGE);
        let Some(missing) = room.checked_sub(self.heap.length).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        // Of more memory a part goes to the stack and to page tables.
        let more = missing.saturating_add(missing / 64 + USUAL_STACK).next_multiple_of(LARGE_PAGE);
        Err(LayoutError::ThreadLocal {
            storage,
            heap: self.heap.length,
            needed: self.size.saturating_add(more),
        })
    }

    /// The range that page tables and the pool of further ones are taken from.
    #[must_use]
    pub fn page_tables(&self) -> Extent {
        Extent { start: PAGE_TABLES, length: self.system_end - PAGE_TABLES }
    }
}

/// The least memory, in bytes, that runs an image of so many bytes.
#[must_use]
pub fn least_memory(image: u64) -> u64 {
    let small = image.saturating_add(system_length(0, image)).next_multiple_of(LARGE_PAGE);
    // One large page more pays for the tables that this memory needs itself.
    small.saturating_add(LEAST_STACK + LEAST_HEAP + LARGE_PAGE)
}

/// The bytes of tables, stub and page tables: tables for every page that may ever be mapped small.
fn system_length(memory: u64, image: u64) -> u64 {
    let large_pages = memory / LARGE_PAGE;
    let split = large_pages;
    let directories = large_pages / 512 + 4;
    let image_tables = image / LARGE_PAGE + 3;
    // PML4, and for each of the four places a table of level 3.
    let upper = 1 + 4;
    let tables = split + directories + image_tables + upper;
    // The system place maps these very tables too.
    let own = tables / 512 + 3;
    PAGE_TABLES + (tables + own) * PAGE
}

/// The places of one instance, in guest-virtual addresses (see `coracle_hypercall::memory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The boot page; the entry page is the next one.
    pub boot: u64,
    /// What to add to an address in the image's file for its address in the guest, wrapping.
    pub bias: u64,
    /// From the image's lowest to its highest page.
    pub image: Extent,
    /// The stack.
    pub stack: Extent,
    /// The heap.
    pub heap: Extent,
    /// What only CPL 0 may touch: tables and stub.
    pub system: Extent,
    /// How far below its top the stack's first used byte is, a multiple of 16.
    pub stack_skip: u64,
}

/// How far before the image the boot page lies: boot page, entry page.
const BEFORE_IMAGE: u64 = 2 * PAGE;

/// Boot page, entry page and image follow each other from a multiple of this. A KVM that shadows
/// page tables fetches neighbouring entries together, eight at a time up to the first that is
/// absent: fewer faults for the same pages.
const IMAGE_GRAIN: u64 = 8 * PAGE;

/// Where images with fixed addresses may begin at the lowest.
pub const LOWEST_IMAGE: u64 = 64 << 10;

/// Whether places are random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Somewhere else at every start.
    Random,
    /// Always the same, for debugging.
    Fixed,
}

impl Places {
    /// Chooses places for an image whose pages are linked at `linked`; `fixed_image` keeps it there,
    /// else it is moved by a multiple of `align`, a power of two and at least a page.
    #[must_use]
    pub fn choose(
        physical: &Physical,
        linked: Extent,
        align: u64,
        fixed_image: bool,
        placement: Placement,
        random: &mut impl FnMut() -> u64,
    ) -> Places {
        let mut below = |bound: u64| match placement {
            Placement::Random => random() % bound.max(1),
            Placement::Fixed => 0,
        };
        // Slot 0 holds the zero page and stays empty; so do slots of an image with fixed addresses.
        let mut taken = Slots::default();
        taken.take_range(0, 1);
        if fixed_image {
            taken.take_range(linked.start.saturating_sub(BEFORE_IMAGE) / SLOT, linked.end() / SLOT + 1);
        }
        let mut place = |length: u64, grain: u64| {
            // At least one grain is left over, so that there is a gap before the next slot.
            let slots = length.saturating_add(grain).div_ceil(SLOT);
            let slot = taken.choose(slots, &mut below);
            slot * SLOT + below((slots * SLOT - length) / grain) * grain
        };
        let image_start = if fixed_image {
            linked.start
        } else {
            let room = BEFORE_IMAGE.next_multiple_of(align) + linked.start % align;
            place(room + linked.length, align.max(IMAGE_GRAIN)) + room
        };
        let stack = place(physical.stack.length, LARGE_PAGE);
        let heap = place(physical.heap.length, LARGE_PAGE);
        let system = place(physical.system_end, LARGE_PAGE);
        Places {
            boot: image_start - BEFORE_IMAGE,
            bias: image_start.wrapping_sub(linked.start),
            image: Extent { start: image_start, length: linked.length },
            stack: Extent { start: stack, length: physical.stack.length },
            heap: Extent { start: heap, length: physical.heap.length },
            system: Extent { start: system, length: physical.system_end },
            stack_skip: below(PAGE / 16) * 16,
        }
    }

    /// The address of the entry page.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.boot + PAGE
    }
}

/// Which slots of the lower half are in use.
#[derive(Debug, Default)]
struct Slots(Vec<std::ops::Range<u64>>);

impl Slots {
    fn take_range(&mut self, start: u64, end: u64) {
        self.0.push(start..end);
    }

    /// Takes `count` neighbouring slots.
    fn choose(&mut self, count: u64, below: &mut impl FnMut(u64) -> u64) -> u64 {
        let highest = SLOTS.saturating_sub(count);
        let first = 1 + below(highest);
        // A taken place is left upwards, round the end: there are more slots than places fill.
        let mut slot = first;
        while self.0.iter().any(|range| slot < range.end && range.start < slot + count) {
            slot = if slot >= highest { 1 } else { slot + 1 };
            if slot == first {
                break;
            }
        }
        self.take_range(slot, slot + count);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, LayoutError, Physical, Placement, Places, SLOT, size_down, size_up};
    use coracle_hypercall::memory::{LARGE_PAGE, PAGE};

    #[test]
    fn sizes_are_short_and_as_mem_takes_them() {
        assert_eq!(size_down(64 << 20), "64M");
        assert_eq!(size_down(3 << 29), "1536M");
        assert_eq!(size_down(1 << 40), "1T");
        assert_eq!(size_down(1_000_000 << 40), "1000000T");
        assert_eq!(size_down(1000), "1000");
        assert_eq!(size_down((8 << 40) - LARGE_PAGE), "7.9T");
        assert_eq!(size_up((20 << 30) + LARGE_PAGE), "20.1G");
        assert_eq!(size_up(u64::MAX), "16777216.0T");
        assert_eq!(size_down(0), "0");
    }

    #[test]
    fn a_place_that_fills_its_slots_still_has_a_gap_after_it() {
        for length in [SLOT - LARGE_PAGE, SLOT, 3 * SLOT] {
            let physical = Physical {
                size: 0,
                system_end: LARGE_PAGE,
                image: Extent { start: 0, length: PAGE },
                stack: Extent { start: 0, length: LARGE_PAGE },
                heap: Extent { start: 0, length },
            };
            let image = Extent { start: 0, length: PAGE };
            // Fixed places are in the first slots, one after the other.
            let places = Places::choose(&physical, image, PAGE, false, Placement::Fixed, &mut || 0);
            let gap = places.system.start - places.heap.end();
            assert!(gap >= LARGE_PAGE, "{length:#x}: {gap:#x} bytes after {:x?}", places.heap);
        }
    }

    #[test]
    fn thread_local_storage_fits_into_the_memory_that_its_refusal_names() {
        for storage in [56 << 20, 64 << 20, 300 << 20, 1 << 30] {
            let physical = Physical::divide(64 << 20, PAGE).expect("it fits");
            let Err(LayoutError::ThreadLocal { needed, .. }) = physical.check_thread_local(storage) else {
                panic!("{storage} bytes fit into {physical:?}");
            };
            let larger = Physical::divide(needed, PAGE).expect("it fits");
            assert_eq!(larger.check_thread_local(storage), Ok(()), "{storage}");
        }
        let physical = Physical::divide(64 << 20, PAGE).expect("it fits");
        assert_eq!(physical.check_thread_local(physical.heap.length - PAGE), Ok(()));
        assert!(physical.check_thread_local(physical.heap.length).is_err());
    }
}
