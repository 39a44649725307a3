//! Where things lie in the guest's address space.

/// The places of one instance, in guest-virtual addresses (see `coracle_hypercall::memory`).
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// The boot page; the entry page is the next one.
    pub boot: u64,
    /// What to add to an address in the image's file for its address in the guest.
    pub bias: u64,
    /// From the image's lowest to its highest page.
    pub image: Extent,
    /// The stack.
    pub stack: Extent,
    /// The heap.
    pub heap: Extent,
    /// What only CPL 0 may touch: tables and stub.
    pub system: Extent,
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
