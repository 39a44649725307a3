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

/// The type of the note whose descriptor is a [`Program`], 32 bits wide. An image without it is a
/// [`Program::Main`]. (1.1)
pub const TYPE_PROGRAM: u32 = 3;

/// What kind of program an image is.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// An ordinary program: its input and output are the console's streams. It may say that it is
    /// ready; else it is as it is before its first instruction.
    Main = 0,
    /// It says that it is ready, takes its input as bytes and responds with bytes.
    Handler = 1,
    /// The same, where the bytes are those of [HTTP messages](crate::invocation#http).
    Http = 2,
}

impl Program {
    /// The word for it in listings.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Program::Main => "main",
            Program::Handler => "handler",
            Program::Http => "http",
        }
    }

    /// The kind with this number, if there is one. A tender refuses an image of another kind.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Program> {
        match number {
            0 => Some(Program::Main),
            1 => Some(Program::Handler),
            2 => Some(Program::Http),
            _ => None,
        }
    }
}

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

/// A note whose descriptor is one 32-bit value, ready to be a static in [`SECTION`].
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ValueNote {
    /// The size of the owner's name.
    pub name_size: u32,
    /// The size of the descriptor.
    pub descriptor_size: u32,
    /// [`TYPE_PERMISSIONS`] or [`TYPE_PROGRAM`].
    pub note_type: u32,
    /// [`OWNER`].
    pub owner: [u8; 8],
    /// Bits of [`Permissions`], or the number of a [`Program`].
    pub value: u32,
}

crate::assert_layout!(
    ValueNote,
    size 24,
    name_size @ 0,
    descriptor_size @ 4,
    note_type @ 8,
    owner @ 12,
    value @ 20,
);

impl ValueNote {
    const fn new(note_type: u32, value: u32) -> ValueNote {
        ValueNote {
            name_size: OWNER.len() as u32,
            descriptor_size: size_of::<u32>() as u32,
            note_type,
            owner: OWNER,
            value,
        }
    }

    /// The note that asks for `permissions`.
    #[must_use]
    pub const fn permissions(permissions: Permissions) -> ValueNote {
        ValueNote::new(TYPE_PERMISSIONS, permissions.bits())
    }

    /// The note that says what kind of program an image is.
    #[must_use]
    pub const fn program(program: Program) -> ValueNote {
        ValueNote::new(TYPE_PROGRAM, program as u32)
    }
}
