//! What lies at or next to an address.

use super::text::bytes;
use super::{GuestMemory, Scene};
use crate::layout::Extent;
use coracle_hypercall::memory::{PAGE, Rights};

/// Below this an address is taken for a null pointer and the offset of a field or an element.
const NULL: u64 = 64 << 10;

/// How far from something an address is still said to be next to it.
const NEAR: u64 = 64 << 20;

/// How far below a stack an access is still taken for the stack's growing.
const OVERFLOW: u64 = 1 << 20;

/// What lies at an address, or next to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not an address of this machine: bits 63 to 47 differ.
    NonCanonical,
    /// So many bytes from address zero.
    Null(u64),
    /// The boot page.
    Boot,
    /// The entry page.
    Entry,
    /// The image.
    Image,
    /// The stack.
    Stack,
    /// So many bytes below the stack's lowest, close enough for the stack to have overflowed.
    BelowStack(u64),
    /// The heap.
    Heap,
    /// The tender's tables and stub.
    System,
    /// So many bytes past the end of something (0 is the byte just after it).
    Past(&'static str, u64),
    /// So many bytes before the start of something.
    Before(&'static str, u64),
    /// Nothing.
    Nowhere,
}

/// Whether bits 63 to 47 of an address are equal.
pub(super) fn is_canonical(address: u64) -> bool {
    let high = address >> 47;
    high == 0 || high == (1 << 17) - 1
}

/// Finds out what lies at or next to `address`.
pub(super) fn locate(address: u64, scene: &Scene<'_>) -> Place {
    let places = scene.places;
    let within = |start: u64| address.checked_sub(start).is_some_and(|offset| offset < PAGE);
    if !is_canonical(address) {
        Place::NonCanonical
    } else if within(places.boot) {
        Place::Boot
    } else if places.boot.checked_add(PAGE).is_some_and(within) {
        Place::Entry
    } else if places.image.contains(address) {
        Place::Image
    } else if places.stack.contains(address) {
        Place::Stack
    } else if places.heap.contains(address) {
        Place::Heap
    } else if places.system.contains(address) {
        Place::System
    } else if address < NULL {
        Place::Null(address)
    } else {
        nearest(address, scene)
    }
}

fn nearest(address: u64, scene: &Scene<'_>) -> Place {
    let places = scene.places;
    if let Some(below) = places.stack.start.checked_sub(address)
        && below <= OVERFLOW
    {
        return Place::BelowStack(below);
    }
    let things: [(&'static str, Extent); 4] = [
        ("the image", places.image),
        ("the stack", places.stack),
        ("the heap", places.heap),
        ("the boot page", Extent { start: places.boot, length: PAGE }),
    ];
    let mut best = (NEAR, Place::Nowhere);
    for (name, extent) in things {
        let before = extent.start.checked_sub(address).map(|n| (n, Place::Before(name, n)));
        let past = address.checked_sub(extent.end()).map(|n| (n, Place::Past(name, n)));
        for found in [before, past].into_iter().flatten() {
            if found.0 < best.0 {
                best = found;
            }
        }
    }
    best.1
}

impl Place {
    /// Says it in a few words that fit "0x1000, …" or stand alone.
    pub(super) fn words(self, rights: Option<Rights>) -> String {
        match self {
            Place::NonCanonical => "not an address that exists".to_owned(),
            Place::Null(0) => "a null pointer".to_owned(),
            Place::Null(offset) => format!("a null pointer plus {}", bytes(offset)),
            Place::Boot => "the boot page".to_owned(),
            Place::Entry => "the entry page".to_owned(),
            Place::Image => format!("image, {}", image_part(rights)),
            Place::Stack => "the stack".to_owned(),
            Place::BelowStack(n) => format!("{} below the stack", bytes(n)),
            Place::Heap => "the heap".to_owned(),
            Place::System => "the tender's own tables".to_owned(),
            Place::Past(thing, 0) => format!("just past the end of {thing}"),
            Place::Past(thing, n) => format!("{} past the end of {thing}", bytes(n)),
            Place::Before(thing, n) => format!("{} before the start of {thing}", bytes(n)),
            Place::Nowhere => "nothing is near it".to_owned(),
        }
    }
}

fn image_part(rights: Option<Rights>) -> &'static str {
    match rights {
        None => "a gap between its segments",
        Some(rights) if rights.contains(Rights::EXECUTE) => "code",
        Some(rights) if rights.contains(Rights::WRITE) => "data",
        Some(_) => "constants",
    }
}

/// Reads eight bytes of guest memory.
pub(super) fn read_u64(memory: &dyn GuestMemory, address: u64) -> Option<u64> {
    let mut buffer = [0; 8];
    // A word that wraps around the end of the address space is in no mapping.
    address.checked_add(7)?;
    memory.read(address, &mut buffer).then(|| u64::from_le_bytes(buffer))
}

/// Whether the guest may fetch instructions at `address`.
pub(super) fn is_executable(memory: &dyn GuestMemory, address: u64) -> bool {
    memory.rights(address).is_some_and(|rights| rights.contains(Rights::EXECUTE))
}
