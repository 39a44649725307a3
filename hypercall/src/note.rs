//! The ELF notes that make a program an image.
//!
//! Notes stand in a `PT_NOTE` segment in the usual format (System V gABI, chapter 5, "Note
//! Section"): name size, descriptor size, type, each 4 bytes; name with its NUL, and descriptor,
//! each padded to 4 bytes. The [`OWNER`] is "Coracle". A program without an [`AbiNote`] is not an
//! image. Types that a tender does not know are passed over.

use crate::version::AbiVersion;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The section that holds the notes.
pub const SECTION: &str = ".note.coracle";

/// The owner of the notes, with its terminating NUL.
pub const OWNER: [u8; 8] = *b"Coracle\0";

/// The type of the note whose descriptor is an [`AbiVersion`].
pub const TYPE_ABI: u32 = 1;

/// The type of the note whose descriptor is a 32-bit set of [`Permissions`].
pub const TYPE_PERMISSIONS: u32 = 2;

bitflags! {
    /// What an image asks for beyond the ordinary. The tender refuses an image with a permission
    /// that it does not know.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Permissions: u32 {
        /// The program makes code at run time: it may turn pages of its heap from writable to
        /// executable and back. Without it no page becomes executable after the start.
        const CODE_AT_RUN_TIME = 1;
    }
}

/// A note with the version that an image was built for, ready to be a static in [`SECTION`].
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AbiNote {
    /// The size of the owner's name.
    pub name_size: u32,
    /// The size of the descriptor.
    pub descriptor_size: u32,
    /// [`TYPE_ABI`].
    pub note_type: u32,
    /// [`OWNER`].
    pub owner: [u8; 8],
    /// The version.
    pub version: AbiVersion,
}

crate::assert_layout!(
    AbiNote,
    size 24,
    name_size @ 0,
    descriptor_size @ 4,
    note_type @ 8,
    owner @ 12,
    version @ 20,
);

impl AbiNote {
    /// The note for an image that is built against this crate.
    pub const CURRENT: AbiNote = AbiNote {
        name_size: OWNER.len() as u32,
        descriptor_size: size_of::<AbiVersion>() as u32,
        note_type: TYPE_ABI,
        owner: OWNER,
        version: crate::version::CURRENT,
    };
}

/// A note with permissions, ready to be a static in [`SECTION`].
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PermissionsNote {
    /// The size of the owner's name.
    pub name_size: u32,
    /// The size of the descriptor.
    pub descriptor_size: u32,
    /// [`TYPE_PERMISSIONS`].
    pub note_type: u32,
    /// [`OWNER`].
    pub owner: [u8; 8],
    /// Bits of [`Permissions`].
    pub permissions: u32,
}

crate::assert_layout!(
    PermissionsNote,
    size 24,
    name_size @ 0,
    descriptor_size @ 4,
    note_type @ 8,
    owner @ 12,
    permissions @ 20,
);

impl PermissionsNote {
    /// The note that asks for `permissions`.
    #[must_use]
    pub const fn new(permissions: Permissions) -> PermissionsNote {
        PermissionsNote {
            name_size: OWNER.len() as u32,
            descriptor_size: size_of::<u32>() as u32,
            note_type: TYPE_PERMISSIONS,
            owner: OWNER,
            permissions: permissions.bits(),
        }
    }
}
