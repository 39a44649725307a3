//! What the tender keeps in the process: a page of code that once carried out steps and makes system calls for the
//! tender.

use super::{END, OWN_PAGES, attempt, attempt_bytes};
use crate::rights::code::code;
use crate::rights::machine::{GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT, Ran};
use coracle_tender::instance::End;

/// The bytes of it that are code.
const CODE: u64 = 0x100;

/// Runs code that ends with a jump to each byte of the tender's code, and to some of what is behind that.
fn all_jumps_end_the_guest(before: &[u8]) {
    for offset in (0..2 * CODE).chain((2 * CODE..OWN_PAGES).step_by(509)) {
        let [a, b, c, d, e, f, ..] = (END - OWN_PAGES + offset).to_le_bytes();
        let jump = [0x48, 0xb9, a, b, c, d, e, f, 0, 0, 0xff, 0xe1];
        // It faults there, or comes to a system call there, which faults too, or a byte there returns.
        match attempt_bytes(&[before, &jump].concat()) {
            Ran { end: End::Faulted(fault), .. } => {
                let known = [INVALID_OPCODE, PAGE_FAULT, GENERAL_PROTECTION].contains(&fault.vector);
                assert!(known, "at {offset:#x}: {fault:x?}");
            }
            ran => assert!(matches!(ran.end, End::Exited(0)), "at {offset:#x}: {:x?}", ran.end),
        }
    }
}

#[test]
fn jumps_to_every_byte_of_the_tenders_pages_end_the_guest() {
    // mov eax, 39 (getpid); xor ebx, ebx
    all_jumps_end_the_guest(&[0xb8, 39, 0, 0, 0, 0x31, 0xdb]);
}

/// A step as the tender writes them is a system call, here exit_group(66): were it made, the process would be no
/// more.
#[test]
fn jumps_to_every_byte_of_the_tenders_pages_carry_out_no_steps_of_the_guests_own() {
    all_jumps_end_the_guest(&[
        0xc7, 0x07, 231, 0, 0, 0, // mov dword ptr [rdi], 231
        0xc6, 0x47, 8, 66, // mov byte ptr [rdi + 8], 66
        0xc6, 0x47, 63, 0x80, // mov byte ptr [rdi + 63], 0x80: whatever it answers
        0x48, 0x89, 0xfb, // mov rbx, rdi
        0x49, 0x89, 0xfc, // mov r12, rdi
        0x48, 0x8d, 0x57, 0x40, // lea rdx, [rdi + 64]
        0xb8, 231, 0, 0, 0, // mov eax, 231
        0xbf, 66, 0, 0, 0, // mov edi, 66
    ]);
}

#[test]
fn the_tenders_pages_hold_nothing_but_code_and_cannot_be_written() {
    let write = code!("mov rax, 0x7fffffffb000", "mov byte ptr [rax], 1");
    assert_eq!(attempt(write).fault().vector, PAGE_FAULT);
    // Sums up what is behind the code and the filter.
    let sum = code!(
        "mov rsi, 0x7fffffffb100",
        "mov ecx, 0x3f00",
        "xor eax, eax",
        "xor ebx, ebx",
        "2: mov bl, [rsi]",
        "add rax, rbx",
        "inc rsi",
        "dec ecx",
        "jnz 2b",
    );
    assert_eq!(attempt(sum).registers().rax, 0);
}
