//! Ways out of a process that runs a guest: each ends the guest, and nothing else.

use super::code::{Code, ROOM, bytes, code, hexadecimal};
use super::machine::{GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT, Ran};
use coracle_tender::instance::End;
use coracle_tender::report::Fault;

/// Runs bytes as code in a process.
fn attempt_bytes(code: &[u8]) -> Ran {
    assert!(code.len() <= ROOM);
    Ran::in_process("run_code", &[&hexadecimal(code)])
}

fn attempt(code: Code) -> Ran {
    attempt_bytes(&bytes(code))
}

/// `mov eax, number`, then an instruction, then code that marks that it came back.
fn with_number(number: u32, instruction: &[u8]) -> Fault {
    const MARK: [u8; 8] = [0x41, 0xbf, 0x15, 0, 0, 0, 0x0f, 0x0b];
    let code = [&[0xb8], &number.to_le_bytes()[..], instruction, &MARK].concat();
    let fault = attempt_bytes(&code).fault();
    assert_ne!(fault.registers.r15, 0x15, "call {number:#x} by {instruction:x?} came back: {fault:x?}");
    fault
}

const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSENTER: &[u8] = &[0x0f, 0x34];
const INT_80: &[u8] = &[0xcd, 0x80];

/// Numbers of all calls that Linux has, and some beyond.
const NUMBERS: std::ops::Range<u32> = 0..480;
/// What marks the numbers of x32.
const X32: u32 = 0x4000_0000;

#[test]
fn every_system_call_is_an_invalid_instruction() {
    for number in NUMBERS.chain([u32::MAX, i32::MAX as u32]) {
        let fault = with_number(number, SYSCALL);
        assert_eq!((fault.vector, fault.registers.rax), (INVALID_OPCODE, number.into()), "{fault:x?}");
    }
}

#[test]
fn system_calls_of_x32_are_invalid_instructions() {
    for number in NUMBERS.step_by(7).chain(512..548) {
        assert_eq!(with_number(X32 | number, SYSCALL).vector, INVALID_OPCODE);
    }
}

#[test]
fn system_calls_of_32_bits_end_the_guest() {
    for number in NUMBERS.step_by(3) {
        let fault = with_number(number, INT_80);
        assert_eq!((fault.vector, fault.error_code), (GENERAL_PROTECTION, 0x402), "{fault:x?}");
        assert_eq!(with_number(number, SYSENTER).vector, GENERAL_PROTECTION);
    }
}

#[test]
fn calls_into_the_vsyscall_page_are_jumps_to_nowhere() {
    for offset in [0, 0x400, 0x800, 1, 0xc00, 0xfff] {
        let [a, b, ..] = (offset as u16).to_le_bytes();
        // mov rax, 0xffffffffff60xxxx sign-extended; call rax.
        let code = [0x48, 0xc7, 0xc0, a, b, 0x60, 0xff, 0xff, 0xd0, 0x0f, 0x0b];
        let fault = attempt_bytes(&code).fault();
        assert_eq!((fault.vector, fault.error_code & 0x10), (PAGE_FAULT, 0x10), "{fault:x?}");
        assert_eq!(fault.address, 0xffff_ffff_ff60_0000 + offset, "{fault:x?}");
    }
}

#[test]
fn the_vsyscall_page_cannot_be_read() {
    let fault = attempt(code!("mov rax, -0xa00000", "mov rax, [rax]")).fault();
    assert_eq!((fault.vector, fault.address), (PAGE_FAULT, 0xffff_ffff_ff60_0000));
}

/// The end of a program's address space under Linux, before which the tender's pages of the process are.
const END: u64 = (1 << 47) - 4096;
const OWN_PAGES: u64 = 4 * 4096;

#[test]
fn jumps_to_every_byte_of_the_tenders_pages_end_the_guest() {
    for offset in (0..0x200).chain((0x200..OWN_PAGES).step_by(509)) {
        let [a, b, c, d, e, f, ..] = (END - OWN_PAGES + offset).to_le_bytes();
        let jump = [0x48, 0xb9, a, b, c, d, e, f, 0, 0, 0xb8, 39, 0, 0, 0, 0x31, 0xdb, 0xff, 0xe1];
        let ran = attempt_bytes(&jump);
        // It faults there, or comes to a system call there, which faults too, or a byte there returns.
        let Ran { end: End::Faulted(fault), .. } = ran else {
            assert!(matches!(ran.end, End::Exited(_)), "{:x?}", ran.end);
            continue;
        };
        assert!([INVALID_OPCODE, PAGE_FAULT, GENERAL_PROTECTION].contains(&fault.vector), "{fault:x?}");
    }
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

#[test]
fn nothing_is_mapped_around_what_the_guest_has() {
    let places = attempt(code!("nop")).places;
    assert!(places.boot > 4096);
    // Where programs have their own code, the vDSO and stack under Linux, and just beyond the last page.
    for address in [0x40_0000_u64, 0x5555_5555_4000, 0x7fff_f7fc_1000, 0x7fff_ffff_a000, 0x7fff_ffff_f000] {
        let [a, b, c, d, e, f, ..] = address.to_le_bytes();
        let read = [0x48, 0xb9, a, b, c, d, e, f, 0, 0, 0x48, 0x8b, 0x01, 0x0f, 0x0b];
        let fault = attempt_bytes(&read).fault();
        assert!([PAGE_FAULT, GENERAL_PROTECTION].contains(&fault.vector), "{address:#x}: {fault:x?}");
    }
}

#[test]
fn a_call_with_any_stack_pointer_and_any_flags_is_a_call() {
    for stack in
        ["mov rsp, 1", "mov rsp, 0x800000000000", "mov rsp, -1", "mov rsp, 0x7fffffffe000", "xor esp, esp"]
    {
        let ran = match stack {
            "mov rsp, 1" => attempt(code!("mov rsp, 1", "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15")),
            "mov rsp, -1" => attempt(code!("mov rsp, -1", "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15")),
            "xor esp, esp" => {
                attempt(code!("xor esp, esp", "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15"))
            }
            "mov rsp, 0x7fffffffe000" => {
                attempt(code!("mov rsp, 0x7fffffffe000", "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15"))
            }
            _ => attempt(code!("mov rsp, 0x800000000000", "xor edi, edi", "out 0x10, eax", "mov r15d, 0x15")),
        };
        let registers = ran.registers();
        assert_eq!((registers.r15, registers.rax), (0x15, 0), "{stack}: {registers:x?}");
    }
    // Direction and alignment check set, all exceptions of SSE unmasked and pending.
    let flags = code!(
        "pushfq",
        "or qword ptr [rsp], 0x40400",
        "popfq",
        "push 0x3f",
        "ldmxcsr [rsp]",
        "xor edi, edi",
        "out 0x10, eax",
        "stmxcsr [rsp]",
        "pop r14",
        "mov r15d, 0x15",
    );
    let registers = attempt(flags).registers();
    assert_eq!((registers.r15, registers.rax, registers.r14 as u32), (0x15, 0, 0x3f));
    assert_eq!(registers.rflags & 0x400, 0x400);
}

#[test]
fn a_single_step_ends_the_guest() {
    let fault = attempt(code!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop")).fault();
    assert_eq!(fault.vector, super::machine::DEBUG);
}

#[test]
fn counters_and_other_privileges_of_the_host_fault() {
    for code in [code!("xor ecx, ecx", "rdpmc"), code!("mov ecx, 0x10", "rdmsr"), code!("mov rax, cr0")] {
        assert_eq!(attempt(code).fault().vector, GENERAL_PROTECTION);
    }
}
