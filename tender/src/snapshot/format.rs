//! The format of a snapshot, version 1.
//!
//! All integers are little-endian. A snapshot is
//!
//! ```text
//!   0               Header
//!   Header::LENGTH  CPUID entries   Cpuid × cpuid_count
//!                   page index      Run × run_count, by ascending page, without overlap or adjacency
//!                   name            the path that the image had, name_length bytes
//!   (zeros up to a multiple of 4096)
//!   data_offset     the guest's memory, from guest-physical address 0 on
//!   image_offset    the image: the ELF file that the guest was made from, image_length bytes
//! ```
//!
//! Pages that the index leaves out are zero, and holes of the file where that can have some: so the memory
//! is mapped as a whole. The vCPU's x87 and vector state is in the boot page (`layout::EXTENDED_OFFSET`), as
//! `xsave` stores it in its standard form (Intel SDM volume 1, section 13.4).
//!
//! The header's `head_digest` is the SHA-256 digest of all before `data_offset`, with that field itself
//! zero; it is checked when a snapshot is opened. `body_digest` is that of the pages of the index, one
//! after the other, and then the image, checked by `coracle snapshot verify`.
//!
//! A field that is not named here is zero. A tender takes its own format version only, and a snapshot of
//! the same CPU features, contract and backend as its own.

use coracle_hypercall::version::AbiVersion;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How a snapshot begins.
pub const MAGIC: [u8; 8] = *b"CORACLES";

/// The version of the format.
pub const VERSION: u32 = 1;

/// The backend that took it: KVM.
pub const BACKEND_KVM: u32 = 1;
/// The backend that runs guests in processes.
pub const BACKEND_PROCESS: u32 = 2;

/// Bit of [`Header::flags`]: the guest has said that it is ready; else it has not run yet.
pub const READY: u32 = 1;

/// The most of each table that a snapshot may have, so that a forged one costs no memory.
pub const MOST_CPUID: u32 = 64;
/// The most runs of pages.
pub const MOST_RUNS: u32 = 1024;
/// The longest name in bytes.
pub const LONGEST_NAME: u32 = 4096;

/// The largest image that is taken out of a snapshot for its names. A larger one runs, and its crash reports
/// have none.
pub const LARGEST_NAMED_IMAGE: u64 = 1 << 30;

/// A run of bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Range {
    /// Its first address.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// The beginning.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// The contract's version that the tender spoke.
    pub abi: AbiVersion,
    /// [`BACKEND_KVM`].
    pub backend: u32,
    /// [`READY`].
    pub flags: u32,
    /// The kind of program (`coracle_hypercall::note::Program`).
    pub program: u32,
    /// What the image may do (`coracle_hypercall::note::Permissions`).
    pub permissions: u32,
    /// How many CPUID entries there are.
    pub cpuid_count: u32,
    /// How many runs the page index has.
    pub run_count: u32,
    /// The length of the name in bytes.
    pub name_length: u32,
    /// Zero.
    pub reserved: u32,
    /// Where the memory begins, a multiple of 4096.
    pub data_offset: u64,
    /// How many pages the index has.
    pub page_count: u64,
    /// Where the image begins.
    pub image_offset: u64,
    /// Its length in bytes; 0 when it is not there.
    pub image_length: u64,
    /// The guest's memory in bytes.
    pub memory: u64,
    /// The image's pages in guest-physical memory, which decide how the rest of it is divided.
    pub image_pages: u64,
    /// Places in guest-virtual memory: image, stack, heap, system.
    pub places: [Range; 4],
    /// The guest-virtual address of the boot page.
    pub boot: u64,
    /// What was added to the image's addresses, wrapping.
    pub bias: u64,
    /// How far below its top the first used byte of the stack is.
    pub stack_skip: u64,
    /// The first guest-physical page that is free for further page tables.
    pub next_table: u64,
    /// The guest-virtual address of the invocation; 0 when the guest is not ready.
    pub invocation: u64,
    /// Nanoseconds on the monotonic clock.
    pub monotonic_ns: u64,
    /// The bits of events that the guest has subscribed to.
    pub subscribed: u64,
    /// The state components that are switched on.
    pub xcr0: u64,
    /// rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip, rflags.
    pub registers: [u64; 18],
    /// The selectors of DS, ES, FS, GS.
    pub selectors: [u16; 4],
    /// The base of FS.
    pub fs_base: u64,
    /// The base of GS.
    pub gs_base: u64,
    /// See above.
    pub head_digest: [u8; 32],
    /// See above.
    pub body_digest: [u8; 32],
}

impl Header {
    /// Its bytes.
    pub const LENGTH: u64 = size_of::<Header>() as u64;
}

/// An entry of the CPUID table (`kvm_cpuid_entry2` of KVM's documentation).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Cpuid {
    /// The leaf.
    pub leaf: u32,
    /// The subleaf.
    pub subleaf: u32,
    /// eax, ebx, ecx, edx.
    pub values: [u32; 4],
}

/// Pages that follow each other.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Run {
    /// The number of the first, from 0 at guest-physical address 0.
    pub first: u64,
    /// How many they are.
    pub count: u64,
}
