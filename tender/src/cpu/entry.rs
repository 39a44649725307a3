//! The entry page under KVM: what leaves the guest for a hypercall.

use super::HYPERCALL_PORT;
use crate::layout::ENTRY;
use crate::memory::{Memory, OutOfMemory};

/// `out HYPERCALL_PORT, eax; ret`, and after it `int3; ret`.
const CODE: [u8; 5] = [0xe7, HYPERCALL_PORT, 0xc3, 0xcc, 0xc3];

/// How far into the page the breakpoint lies through which the stub is asked to edit page tables.
/// It ends as a call does.
pub const EDIT_TRAP: u64 = 3;

/// How far into the page a guest goes on that returns from a call. KVMs differ in where they say that
/// a guest is which has made one.
pub const RETURN: u64 = 2;

/// Writes the entry page.
///
/// # Errors
/// When guest memory is too small.
pub fn write(memory: &Memory) -> Result<(), OutOfMemory> {
    // What is not code is breakpoints, so that a stray jump is reported where it happens.
    memory.write(ENTRY, &[0xcc; 4096])?;
    memory.write(ENTRY, &CODE)
}
