//! Registers and flags that a guest may come out with, and what they are then.

use super::{attempt, attempt_bytes};
use crate::rights::code::{code, run};
use crate::rights::machine::{DEBUG, GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT};
use crate::support::no_kvm;

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
    assert_eq!(fault.vector, DEBUG);
}

#[test]
fn counters_and_other_privileges_of_the_host_fault() {
    for code in [code!("xor ecx, ecx", "rdpmc"), code!("mov ecx, 0x10", "rdmsr"), code!("mov rax, cr0")] {
        assert_eq!(attempt(code).fault().vector, GENERAL_PROTECTION);
    }
}

#[test]
fn a_fault_with_any_stack_pointer_and_any_flags_is_that_fault() {
    if no_kvm() {
        return;
    }
    let pieces = [
        (1, run(code!("mov rsp, 1", "mov rax, [0x1238]"))),
        (u64::MAX, run(code!("mov rsp, -1", "mov rax, [0x1238]"))),
        (1 << 47, run(code!("mov rsp, 0x800000000000", "mov rax, [0x1238]"))),
        (0, run(code!("xor esp, esp", "std", "mov rax, [0x1238]"))),
        (
            0x7fff_ffff_e003,
            run(code!(
                "pushfq",
                "or qword ptr [rsp], 0x40400",
                "popfq",
                "push 0",
                "ldmxcsr [rsp]",
                "mov rsp, 0x7fffffffe003",
                "mov rax, [0x1238]",
            )),
        ),
    ];
    for (stack, ran) in pieces {
        let fault = ran.fault();
        assert_eq!((fault.vector, fault.error_code, fault.address), (PAGE_FAULT, 4, 0x1238), "{fault:x?}");
        assert_eq!(fault.registers.rsp, stack, "{fault:x?}");
    }
}

/// What the kernel would take for a signal's frame has the registers of another program: none is taken from it.
#[test]
fn a_frame_of_the_guests_own_is_not_returned_from() {
    // The frame is full of 0x41 but for its segments.
    let code = code!(
        "mov r12, rdi",
        "mov ecx, 1024",
        "mov al, 0x41",
        "rep stosb",
        "mov word ptr [r12 + 40 + 18 * 8], 0x33",
        "lea rsp, [r12]",
        "mov eax, 15",
        "syscall",
        "mov r15d, 0x15",
    );
    let fault = attempt(code).fault();
    let registers = fault.registers;
    assert_eq!(
        (fault.vector, registers.rax, registers.rsp),
        (INVALID_OPCODE, 15, registers.r12),
        "{fault:x?}"
    );
    assert_ne!(registers.r15, 0x15, "{fault:x?}");
    // By the tender's own instruction too: rax is in place, and the jump goes to each byte of its code.
    for offset in 0..0x100_u64 {
        let [a, b, ..] = (0xb000 + offset).to_le_bytes();
        let code = [
            &[0x49, 0x89, 0xfc, 0xb9, 0, 4, 0, 0, 0xb0, 0x41, 0xf3, 0xaa, 0x4c, 0x89, 0xe4][..],
            &[0xb8, 15, 0, 0, 0, 0x48, 0xbb, a, b, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0xff, 0xe3],
        ];
        let fault = attempt_bytes(&code.concat()).fault();
        assert_ne!(fault.registers.rbp, 0x4141_4141_4141_4141, "at {offset:#x}: {fault:x?}");
    }
}
