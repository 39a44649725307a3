//! The code at CPL 0: all of it.
//!
//! For each exception vector it has an entry of eight bytes, which leaves for the tender at once:
//! the instruction pointer tells the vector, and the frame that the CPU pushed lies at a place that
//! the tender knows. Nothing is believed that a guest could have written.
//!
//! A breakpoint does the same unless the tender has left a list of page-table edits, which only the
//! tender and CPL 0 can write. Then it copies the listed values, reloads CR3 and returns. It changes
//! rcx, rdx, rsi, rdi: the tender starts it only where they are free.
//!
//! The list, at the start of the edit list's pages: the number of runs (8 bytes), then for each run
//! where its entries are, how many, and where their new values are (8 bytes each), all addresses of
//! the system place.

use super::FAULT_PORT;
use crate::layout::{EDIT_LIST, EDIT_LIST_LENGTH, STUB};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::Edit;
use std::arch::global_asm;

/// Vectors that have an entry: all that the architecture gives to exceptions.
pub const VECTORS: u8 = 32;

/// The vector of `int3`.
pub const BREAKPOINT: u8 = 3;

const ENTRY_LENGTH: u64 = 8;

global_asm!(
    ".pushsection .rodata.coracle_stub, \"a\"",
    ".balign 8",
    "coracle_stub_start:",
    ".macro coracle_stub_report",
    "    out {fault_port}, al",
    "    ud2",
    "    .balign 8, 0xcc",
    ".endm",
    ".rept 3",
    "    coracle_stub_report",
    ".endr",
    "    jmp coracle_stub_breakpoint",
    "    .balign 8, 0xcc",
    ".rept 28",
    "    coracle_stub_report",
    ".endr",
    ".purgem coracle_stub_report",
    "coracle_stub_breakpoint:",
    "    cmp qword ptr [rip + coracle_stub_start + {list}], 0",
    "    jne 2f",
    "coracle_stub_report_breakpoint:",
    "    out {fault_port}, al",
    "    ud2",
    "2:  cld",
    "    lea rdx, [rip + coracle_stub_start + {list}]",
    "3:  mov rdi, [rdx + 8]",
    "    mov rcx, [rdx + 16]",
    "    mov rsi, [rdx + 24]",
    "    rep movsq",
    "    add rdx, 24",
    // The values of the first run follow the last run.
    "    lea rcx, [rdx + 8]",
    "    cmp rcx, [rip + coracle_stub_start + {list} + 24]",
    "    jne 3b",
    "    mov rcx, cr3",
    "    mov cr3, rcx",
    // Only now all of it is done.
    "    mov qword ptr [rip + coracle_stub_start + {list}], 0",
    // Nothing of the system place is left for the guest to see.
    "    xor ecx, ecx",
    "    xor edx, edx",
    "    xor esi, esi",
    "    xor edi, edi",
    "    iretq",
    "coracle_stub_end:",
    ".popsection",
    fault_port = const FAULT_PORT,
    list = const EDIT_LIST - STUB,
);

unsafe extern "C" {
    static coracle_stub_start: u8;
    static coracle_stub_report_breakpoint: u8;
    static coracle_stub_end: u8;
}

/// Where the entry for a vector lies in the stub.
#[must_use]
pub fn entry_offset(vector: u8) -> u64 {
    u64::from(vector) * ENTRY_LENGTH
}

/// The bytes of the stub.
fn code() -> &'static [u8] {
    let start = &raw const coracle_stub_start;
    let length = (&raw const coracle_stub_end).addr() - start.addr();
    // SAFETY: both labels bound the bytes assembled above, which are read-only data.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// Writes the stub into its page.
///
/// # Errors
/// When guest memory is too small.
pub fn write(memory: &Memory) -> Result<(), OutOfMemory> {
    memory.write(STUB, code())
}

/// The vector of the fault that the stub hands over, told by how far into the stub the instruction
/// pointer is: at the `out` or after it, as KVMs differ. `None` where it hands over nothing.
#[must_use]
pub fn vector_at(offset: u64) -> Option<u8> {
    let report = (&raw const coracle_stub_report_breakpoint).addr() - (&raw const coracle_stub_start).addr();
    let out_length = 2;
    if offset == report as u64 || offset == report as u64 + out_length {
        return Some(BREAKPOINT);
    }
    let vector = u8::try_from(offset / ENTRY_LENGTH).ok().filter(|vector| *vector < VECTORS)?;
    matches!(offset % ENTRY_LENGTH, 0 | 2).then_some(vector)
}

/// Whether the CPU pushes an error code for this vector (Intel SDM volume 3, table 7-1).
#[must_use]
pub fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// How many new values one list holds, whatever runs they fall into: each run costs three words more.
pub const MAX_EDIT_VALUES: usize = (EDIT_LIST_LENGTH as usize / 8 - 1) / 4;

/// Leaves a list of edits for the stub. Addresses of entries are guest-physical; `system` is where
/// the system place maps guest-physical address 0.
///
/// # Errors
/// When the list does not fit, which [`MAX_EDIT_VALUES`] prevents.
pub fn write_edits(memory: &Memory, system: u64, edits: &[Edit]) -> Result<(), OutOfMemory> {
    let mut run = EDIT_LIST + 8;
    let mut values = run + edits.len() as u64 * 24;
    for edit in edits {
        for word in [system + edit.entry, edit.values.len() as u64, system + values] {
            memory.write_u64(run, word)?;
            run += 8;
        }
        for value in &edit.values {
            if values >= EDIT_LIST + EDIT_LIST_LENGTH {
                return Err(OutOfMemory { address: values, length: 8 });
            }
            memory.write_u64(values, *value)?;
            values += 8;
        }
    }
    memory.write_u64(EDIT_LIST, edits.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::{BREAKPOINT, VECTORS, code, entry_offset, vector_at};

    #[test]
    fn the_stub_fits_its_page() {
        assert!(code().len() <= 4096);
    }

    #[test]
    fn each_vector_is_told_by_the_instruction_pointer_at_or_after_its_out() {
        for vector in (0..VECTORS).filter(|vector| *vector != BREAKPOINT) {
            assert_eq!(vector_at(entry_offset(vector)), Some(vector));
            assert_eq!(vector_at(entry_offset(vector) + 2), Some(vector));
        }
        let breakpoints = (0..code().len() as u64).filter(|at| vector_at(*at) == Some(BREAKPOINT));
        assert!(breakpoints.count() >= 2);
    }

    #[test]
    fn no_place_beyond_the_stub_hands_over_a_fault() {
        assert!((code().len() as u64..1 << 20).all(|offset| vector_at(offset).is_none()));
    }
}
