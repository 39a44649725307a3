//! Selectors: what they show, and which can be loaded.

use super::code::{Code, code, run, run_bytes};
use super::machine::{GENERAL_PROTECTION, INVALID_OPCODE, STACK};
use crate::support::{is_process, no_kvm};
use coracle_tender::cpu::descriptors::{SYSTEM_CODE, SYSTEM_DATA, TASK, USER_CODE, USER_DATA};
use coracle_tender::registers::Registers;

const ANY_LEVEL: u16 = !3;

#[test]
fn segment_registers_hold_what_the_tender_chose() {
    if no_kvm() {
        return;
    }
    let registers =
        run(code!("mov eax, cs", "mov ebx, ss", "mov ecx, ds", "mov edx, es", "mov r8d, fs", "mov r9d, gs"))
            .registers();
    assert_eq!(registers.rax, u64::from(USER_CODE));
    assert_eq!(registers.rbx, u64::from(USER_DATA));
    assert_eq!([registers.rcx, registers.rdx, registers.r8, registers.r9], [0; 4]);
}

#[test]
fn pushed_segment_registers_hold_what_the_tender_chose() {
    if no_kvm() {
        return;
    }
    let registers = run(code!(".byte 0x0f, 0xa0", "pop rax", ".byte 0x0f, 0xa8", "pop rbx")).registers();
    assert_eq!([registers.rax, registers.rbx], [0; 2]);
}

/// A data segment of Linux, whose limit is the number of the CPU and of its node.
///
/// A KVM that runs the guest under the host's GDT lets it show. No guest can be kept from that there:
/// these instructions do not fault, and the GDT is the host's for all of its programs.
const CPU_NUMBER: u16 = 0x78;

/// The segment of Linux for 32-bit code, which every process has.
const CODE_32: u16 = 0x20;

/// Selectors that CPL 3 may know of.
fn visible(selector: u16) -> bool {
    if is_process() && selector & ANY_LEVEL == CODE_32 {
        return true;
    }
    [USER_CODE & ANY_LEVEL, USER_DATA & ANY_LEVEL, CPU_NUMBER].contains(&(selector & ANY_LEVEL))
}

/// Tries an instruction on every selector and lists those that it accepts, with what it shows.
fn accepted(code: Code) -> Vec<(u16, u32)> {
    let ran = run(code);
    let count = ran.registers().rcx as usize;
    (0..count.min(510))
        .map(|index| ran.word(index * 8))
        .map(|word| (word as u16, (word >> 32) as u32))
        .collect()
}

macro_rules! every_selector {
    ($instruction:literal) => {
        code!(
            "xor ecx, ecx",
            "xor edx, edx",
            "2:",
            "xor eax, eax",
            $instruction,
            "jnz 3f",
            "cmp ecx, 510",
            "jae 3f",
            "mov [rdi + rcx * 8], edx",
            "mov [rdi + rcx * 8 + 4], eax",
            "inc ecx",
            "3:",
            "inc edx",
            "cmp edx, 0x10000",
            "jb 2b",
        )
    };
}

#[track_caller]
fn only_visible(name: &str, code: Code) {
    if no_kvm() {
        return;
    }
    let accepted = accepted(code);
    let others: Vec<_> = accepted.iter().filter(|(selector, _)| !visible(*selector)).collect();
    assert!(others.is_empty(), "{name} accepts {others:x?}");
}

#[test]
fn lar_knows_only_the_tenders_segments() {
    only_visible("lar", every_selector!("lar eax, edx"));
}

#[test]
fn lsl_knows_only_the_tenders_segments() {
    only_visible("lsl", every_selector!("lsl eax, edx"));
}

#[test]
fn verr_knows_only_the_tenders_segments() {
    only_visible("verr", every_selector!("verr dx"));
}

#[test]
fn verw_knows_only_the_tenders_segments() {
    only_visible("verw", every_selector!("verw dx"));
}

#[test]
fn the_tenders_segments_are_described_as_the_tender_wrote_them() {
    if no_kvm() {
        return;
    }
    // Bits 19:16 are undefined.
    let rights = accepted(every_selector!("lar eax, edx")).into_iter();
    let rights: Vec<_> = rights.map(|(selector, rights)| (selector, rights & 0xf0_ff00)).collect();
    let limits = accepted(every_selector!("lsl eax, edx"));
    for (selector, described) in [(USER_DATA, 0xc0_f300), (USER_CODE, 0xa0_fb00)] {
        assert!(rights.contains(&(selector, described)), "{selector:#x} in {rights:x?}");
        assert!(limits.contains(&(selector, u32::MAX)), "{selector:#x} in {limits:x?}");
    }
}

/// `mov SEGMENT, eax` by the number of the segment register.
fn load(segment: u8, selector: u16) -> Vec<u8> {
    let [low, high] = selector.to_le_bytes();
    vec![0xb8, low, high, 0, 0, 0x8e, 0xc0 | segment << 3, 0x0f, 0x0b]
}

const ES: u8 = 0;
const CS: u8 = 1;
const SS: u8 = 2;
const DS: u8 = 3;
const FS: u8 = 4;
const GS: u8 = 5;

#[test]
fn segments_of_cpl_0_cannot_be_loaded() {
    if no_kvm() {
        return;
    }
    for segment in [ES, SS, DS, FS, GS] {
        for selector in [SYSTEM_CODE, SYSTEM_CODE | 3, SYSTEM_DATA, SYSTEM_DATA | 3, TASK, TASK | 3] {
            let fault = run_bytes(&load(segment, selector)).fault();
            let what = format!("segment register {segment}, selector {selector:#x}: {fault:x?}");
            assert!([GENERAL_PROTECTION, STACK].contains(&fault.vector), "{what}");
        }
    }
}

#[test]
fn selectors_of_empty_entries_beyond_the_gdt_or_of_an_ldt_cannot_be_loaded() {
    if no_kvm() {
        return;
    }
    for segment in [ES, SS, DS, FS, GS] {
        for selector in
            [8, 0xb, 0x20, 0x23, 0x38, 0x3b, 0x50, 0x53, 0x80, 0x83, 0x100, 0xfffb, 4, 7, 0xf, 0x2f]
        {
            // It may be read, as code may.
            if is_process() && segment != SS && selector & ANY_LEVEL == CODE_32 {
                continue;
            }
            let fault = run_bytes(&load(segment, selector)).fault();
            let what = format!("segment register {segment}, selector {selector:#x}: {fault:x?}");
            assert_eq!(fault.vector, GENERAL_PROTECTION, "{what}");
        }
    }
}

#[test]
fn the_code_segment_cannot_be_moved_to() {
    if no_kvm() {
        return;
    }
    let fault = run_bytes(&load(CS, USER_CODE)).fault();
    assert_eq!((fault.vector, fault.registers.rax), (INVALID_OPCODE, u64::from(USER_CODE)));
}

/// Code that loads something, makes a call that is answered, and shows its registers.
macro_rules! then_calls {
    ($($line:literal),+ $(,)?) => {
        code!($($line,)+ "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15", "rdfsbase r14", "rdgsbase r13")
    };
}

/// Runs code that loads what a program may, and then makes a call; it goes on after that.
#[track_caller]
fn goes_on(code: Code) -> Option<Registers> {
    if no_kvm() {
        return None;
    }
    let registers = run(code).registers();
    assert_eq!((registers.r15, registers.rax), (0x15, 0), "{registers:x?}");
    Some(registers)
}

#[test]
fn a_base_in_the_upper_half_of_the_address_space_is_kept_across_calls() {
    const FIRST: u64 = 0xffff_8000_0000_0000;
    let code = then_calls!(
        "mov rax, -0x5000",
        "wrfsbase rax",
        "mov rax, 0xffff800000000000",
        "wrgsbase rax",
        "xor eax, eax"
    );
    let Some(registers) = goes_on(code) else { return };
    assert_eq!((registers.r14, registers.r13), (0x5000_u64.wrapping_neg(), FIRST));
}

#[test]
fn null_selectors_of_any_privilege_level_can_be_loaded_before_a_call() {
    for code in [
        then_calls!("mov eax, 1", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
        then_calls!("mov eax, 2", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
        then_calls!("mov eax, 3", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
    ] {
        goes_on(code);
    }
}

#[test]
fn the_data_segment_of_any_privilege_level_can_be_loaded_before_a_call() {
    for code in [
        then_calls!("mov eax, 0x28", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
        then_calls!("mov eax, 0x29", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
        then_calls!("mov eax, 0x2b", "mov ds, eax", "mov es, eax", "mov fs, eax", "mov gs, eax"),
    ] {
        goes_on(code);
    }
}
