//! The entry page under KVM: what leaves the guest for a hypercall, and what brings an instance of a
//! snapshot back to where that was taken.
//!
//! The way back is code at CPL 3, which clears the x87 unit and loads the extended state from the boot page.
//! To have KVM load it costs as much as a tenth of an exit and more.

use super::HYPERCALL_PORT;
use super::cpuid::Features;
use crate::layout::{BOOT, ENTRY, EXTENDED_OFFSET, TARGET_OFFSET};
use crate::memory::{Memory, OutOfMemory};
use coracle_hypercall::memory::PAGE;
use std::arch::global_asm;

global_asm!(
    ".pushsection .rodata.coracle_entry, \"a\"",
    // Both are assembled as if they were at the start of the page, which follows the boot page.
    ".macro coracle_entry_page load",
    "    out {port}, eax",
    "    ret",
    "    int3",
    "    ret",
    "    int3",
    "    mov eax, -1",
    "    mov edx, -1",
    // Where no exception of the x87 unit is pending, some CPUs do not load what its last instruction was.
    "    fninit",
    "    \\load",
    "    xor eax, eax",
    "    xor edx, edx",
    ".endm",
    "coracle_entry_xsave:",
    "    coracle_entry_page \"xrstor64 [rip + coracle_entry_xsave - {extended}]\"",
    "    jmp qword ptr [rip + coracle_entry_xsave - {target}]",
    "coracle_entry_xsave_end:",
    "coracle_entry_fxsave:",
    "    coracle_entry_page \"fxrstor64 [rip + coracle_entry_fxsave - {extended}]\"",
    "    jmp qword ptr [rip + coracle_entry_fxsave - {target}]",
    "coracle_entry_fxsave_end:",
    ".purgem coracle_entry_page",
    ".popsection",
    port = const HYPERCALL_PORT,
    extended = const PAGE - EXTENDED_OFFSET,
    target = const PAGE - TARGET_OFFSET,
);

const _: () = assert!(ENTRY == BOOT + PAGE);

unsafe extern "C" {
    static coracle_entry_xsave: u8;
    static coracle_entry_xsave_end: u8;
    static coracle_entry_fxsave: u8;
    static coracle_entry_fxsave_end: u8;
}

/// How far into the page a guest goes on that returns from a call. KVMs differ in where they say that
/// a guest is which has made one.
pub const RETURN: u64 = 2;

/// How far into the page the breakpoint lies through which the stub is asked to edit page tables.
/// It ends as a call does.
pub const EDIT_TRAP: u64 = 3;

/// How far into the page an instance of a snapshot begins whose page tables are to be edited first.
pub const RESUME_WITH_EDITS: u64 = 5;

/// How far into the page an instance of a snapshot begins. It loads the extended state, leaves 0 in rax and
/// rdx, and jumps to the target.
pub const RESUME: u64 = 6;

/// Writes the entry page.
///
/// # Errors
/// When guest memory is too small.
pub fn write(memory: &Memory, features: &Features) -> Result<(), OutOfMemory> {
    // What is not code is breakpoints, so that a stray jump is reported where it happens.
    memory.write(ENTRY, &[0xcc; 4096])?;
    memory.write(ENTRY, code(features.xcr0 != 0))
}

/// The code for a CPU that has XSAVE, or has not.
fn code(xsave: bool) -> &'static [u8] {
    let (start, end) = if xsave {
        (&raw const coracle_entry_xsave, &raw const coracle_entry_xsave_end)
    } else {
        (&raw const coracle_entry_fxsave, &raw const coracle_entry_fxsave_end)
    };
    // SAFETY: both labels bound the bytes assembled above, which are read-only data.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

#[cfg(test)]
mod tests {
    use super::{EDIT_TRAP, RESUME, RESUME_WITH_EDITS, RETURN, code};

    #[test]
    fn each_way_into_the_page_is_where_it_is_said_to_be() {
        let (int3, ret, mov_eax) = (0xcc, 0xc3, 0xb8);
        for code in [code(true), code(false)] {
            let at = |offset: u64| code[offset as usize];
            assert_eq!([at(RETURN), at(EDIT_TRAP), at(EDIT_TRAP + 1)], [ret, int3, ret]);
            assert_eq!([at(RESUME_WITH_EDITS), at(RESUME)], [int3, mov_eax]);
            assert!(code.len() < 64);
        }
    }
}
