//! Guest addresses, rights, page sizes and the memory map.
//!
//! # Guest-virtual memory
//!
//! The guest runs at CPL 3 under page tables that the tender makes and that the guest cannot reach.
//! Each of the three places below lies somewhere else at every start: each in its own 512 GiB slot
//! of the lower half, at a random place within that slot. All between them is unmapped.
//!
//! ```text
//!   0x0000_0000_0000  ┌──────────────────────────────┐
//!                     │ never mapped (slot 0, unless │
//!                     │ an image is linked there)    │
//!                     ├──────────────────────────────┤
//!   image place       │ boot page            R       │ boot information, clock page
//!                     │ entry page           R X     │ the function that calls the tender
//!                     │ image: text          R X     │
//!                     │        constants     R       │ with the ELF and program headers
//!                     │        relocated     R       │ PT_GNU_RELRO
//!                     │        data, bss     R W     │
//!                     ├── ─ ─ unmapped ─ ─ ─ ─ ─ ─ ──┤
//!   stack place       │ stack                R W     │ grows down; at its top the arguments
//!                     ├── ─ ─ unmapped ─ ─ ─ ─ ─ ─ ──┤
//!   heap place        │ heap                 R W     │ all that is left of the memory
//!                     ├── ─ ─ unmapped ─ ─ ─ ─ ─ ─ ──┤
//!   system place      │ tables and stub   (CPL 0)    │ a fault for the guest, whatever it does
//!   0x8000_0000_0000  └──────────────────────────────┘
//! ```
//!
//! The order of the places in the address space is random too. An image with fixed addresses
//! (`ET_EXEC`) stays where it was linked. No page is ever writable and executable.
//!
//! # Guest-physical memory
//!
//! The guest never sees a guest-physical address. How the tender fills that space is its own
//! affair, with one rule that keeps page tables small: heap and stack are made of 2 MiB pages.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The size of a small page in bytes, the grain of all rights.
pub const PAGE: u64 = 4096;

/// The size of a large page in bytes. Heap and stack start at a multiple of it.
pub const LARGE_PAGE: u64 = 2 << 20;

/// A guest-virtual address as a guest hands it over.
///
/// On the tender's side it is nothing but a number: it must be translated and checked before it
/// leads to memory.
#[repr(transparent)]
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct GuestAddress(pub u64);

impl GuestAddress {
    /// The address `bytes` further on, unless that is beyond the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<GuestAddress> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(GuestAddress(sum)),
            None => None,
        }
    }
}

impl core::fmt::Debug for GuestAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl core::fmt::Display for GuestAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A run of bytes in guest-virtual memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GuestSlice {
    /// Its first byte.
    pub address: GuestAddress,
    /// Its length in bytes.
    pub length: u64,
}

crate::assert_layout!(GuestSlice, size 16, address @ 0, length @ 8);

impl GuestSlice {
    /// A slice from its first address and its length in bytes.
    #[must_use]
    pub const fn new(address: u64, length: u64) -> GuestSlice {
        GuestSlice { address: GuestAddress(address), length }
    }

    /// The slice that a Rust slice of the calling program occupies.
    #[must_use]
    pub fn of<T>(items: &[T]) -> GuestSlice {
        GuestSlice::new(items.as_ptr().addr() as u64, size_of_val(items) as u64)
    }

    /// The address after its last byte, unless it reaches beyond the end of the address space.
    #[must_use]
    pub const fn end(self) -> Option<GuestAddress> {
        self.address.checked_add(self.length)
    }

    /// Whether `address` is within the slice.
    #[must_use]
    pub const fn contains(self, address: GuestAddress) -> bool {
        address.0 >= self.address.0 && address.0 - self.address.0 < self.length
    }
}

bitflags! {
    /// What the guest may do with a page. No right at all makes it inaccessible.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Rights: u64 {
        /// Read. x86 has no page that can be written or executed and not read: write or execute
        /// without it is refused.
        const READ = 1;
        /// Write.
        const WRITE = 2;
        /// Fetch instructions.
        const EXECUTE = 4;
    }
}

impl core::fmt::Display for Rights {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (right, letter) in [(Rights::READ, 'r'), (Rights::WRITE, 'w'), (Rights::EXECUTE, 'x')] {
            let shown = if self.contains(right) { letter } else { '-' };
            core::fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}
