//! What the guest finds at its first instruction.
//!
//! # Registers
//!
//! The guest starts at its ELF entry at CPL 3, as the System V ABI for AMD64 (section 3.4.1) starts
//! a process: `rsp` points to the argument block, is a multiple of 16, `rdx` is 0 (no function to
//! register with `atexit`), every other general register is 0. The arithmetic, direction and trap flags
//! are clear; IF and IOPL are the tender's affair.
//! x87, SSE and, where the CPU has them, AVX and AVX-512 are ready for use with their default
//! control words. `wrfsbase` and its kin are available; the FS and GS bases are 0.
//!
//! # The argument block
//!
//! ```text
//!   rsp → argc (8 bytes)
//!         argv[0] … argv[argc-1], 0
//!         environment pointers …, 0
//!         auxiliary vector: (type, value) …, (0, 0)
//!         the strings and bytes that these point to
//!   top of the stack
//! ```
//!
//! The auxiliary vector has `AT_PHDR`, `AT_PHENT`, `AT_PHNUM`, `AT_PAGESZ`, `AT_ENTRY`,
//! `AT_RANDOM` (16 random bytes), `AT_EXECFN`, `AT_SECURE` (0), and [`AT_CORACLE`], whose value is the
//! address of the [`BootInfo`]. An image that does not find `AT_CORACLE` was started by something
//! else than a tender, such as Linux itself.

use crate::memory::{GuestAddress, GuestSlice};
use crate::version::AbiVersion;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The type of the auxiliary vector's entry that points to the [`BootInfo`] ("Cora" in ASCII, far
/// above what Linux gives out).
pub const AT_CORACLE: u64 = 0x436f_7261;

/// Facts about the machine, in a page that the guest may only read.
///
/// `size` says how much of it the tender wrote: a field of a later minor version that lies beyond
/// it is absent.
#[repr(C)]
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BootInfo {
    /// The tender's version of the contract.
    pub abi: AbiVersion,
    /// Bytes of this structure that are valid.
    pub size: u32,
    /// The function that calls the tender, see [`call`](crate::call).
    pub entry: GuestAddress,
    /// The [clock page](crate::clock::ClockPage).
    pub clock: GuestAddress,
    /// How many vCPUs the machine has. The others wait to be started by a call of a later version.
    pub vcpus: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// From the image's lowest to its highest loaded byte, in whole pages.
    pub image: GuestSlice,
    /// The stack of the first thread.
    pub stack: GuestSlice,
    /// Memory for the guest to use as it likes: zero at the start, readable and writable, backed
    /// when it is first touched.
    pub heap: GuestSlice,
    /// The image's template of thread-local storage (`PT_TLS`): the bytes to copy; empty without one.
    pub tls_image: GuestSlice,
    /// The size in bytes of thread-local storage, of which what follows the template is zero.
    pub tls_size: u64,
    /// The alignment in bytes that thread-local storage needs; 0 or 1 without one.
    pub tls_align: u64,
    /// Random bytes fit for seeding a generator, different at every start.
    pub seed: [u8; 32],
}

crate::assert_layout!(
    BootInfo,
    size 144,
    abi @ 0,
    size @ 4,
    entry @ 8,
    clock @ 16,
    vcpus @ 24,
    reserved @ 28,
    image @ 32,
    stack @ 48,
    heap @ 64,
    tls_image @ 80,
    tls_size @ 96,
    tls_align @ 104,
    seed @ 112,
);
