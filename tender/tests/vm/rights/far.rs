//! Far transfers: none leads to CPL 0.

use super::code::{Code, code, run, run_bytes};
use super::machine::{BREAKPOINT, DEBUG, GENERAL_PROTECTION, INVALID_OPCODE, OVERFLOW};
use crate::lane::times;
use crate::support::no_kvm;
use coracle_tender::cpu::descriptors::SYSTEM_CODE;

/// Runs code that goes to CPL-0 code; it is refused with the selector as error code.
#[track_caller]
fn refused(name: &str, code: Code) {
    if no_kvm() {
        return;
    }
    let fault = run(code).fault();
    assert_eq!(fault.vector, GENERAL_PROTECTION, "{name}: {fault:x?}");
    assert_eq!(fault.error_code, u64::from(SYSTEM_CODE), "{name}: {fault:x?}");
}

// The operand of the far jump and of the far call is 32 bits of offset, then the selector: the form
// with 64 bits is not on all CPUs. The selector is refused before the offset matters.

#[test]
fn a_far_jump_does_not_reach_cpl_0() {
    refused("far jump", code!("mov dword ptr [rdi + 4], 0x10", "jmp fword ptr [rdi]"));
}

#[test]
fn a_far_call_does_not_reach_cpl_0() {
    refused("far call", code!("mov dword ptr [rdi + 4], 0x10", "call fword ptr [rdi]"));
}

#[test]
fn a_far_return_does_not_reach_cpl_0() {
    refused("far return", code!("push 0x10", "lea rax, [rip + 2f]", "push rax", "retfq", "2:"));
}

#[test]
fn an_interrupt_return_does_not_reach_cpl_0() {
    let code = code!(
        "mov rcx, rsp",
        "push 0x18",
        "push rcx",
        "pushfq",
        "push 0x10",
        "lea rax, [rip + 2f]",
        "push rax",
        "iretq",
        "2:",
    );
    refused("iretq", code);
}

/// `int n`, at whose end the guest shows its registers.
fn interrupt(number: u8) -> [u8; 4] {
    [0xcd, number, 0x0f, 0x0b]
}

/// Vectors that a KVM which uses the IDT of a Linux host lets through: `int3` and `into` are for
/// everyone there. They raise the exception that they name and no other.
const LET_THROUGH: [u8; 2] = [BREAKPOINT, OVERFLOW];

#[test]
fn software_interrupts_are_refused_but_for_breakpoint_and_overflow() {
    if no_kvm() {
        return;
    }
    // Those of exceptions and every seventh of the others, where not all are tried.
    let all = times(256, 64) == 256;
    for number in (0..=u8::MAX).filter(|number| all || *number < 32 || number % 7 == 0) {
        let fault = run_bytes(&interrupt(number)).fault();
        if LET_THROUGH.contains(&number) && fault.vector == number {
            continue;
        }
        // The manual's error code tells the gate (QEMU counts gates of 16 bytes), and one KVM gives
        // #UD; some it passes over.
        let number = u64::from(number);
        let refused = match fault.vector {
            GENERAL_PROTECTION => [number * 8 + 2, number * 16 + 2, 0].contains(&fault.error_code),
            vector => vector == INVALID_OPCODE,
        };
        assert!(refused, "int {number}: {fault:x?}");
    }
}

#[test]
fn the_breakpoint_for_hardware_debuggers_ends_the_guest() {
    if no_kvm() {
        return;
    }
    let fault = run(code!(".byte 0xf1")).fault();
    // QEMU does not know the instruction where KVM intercepts it.
    assert!([DEBUG, INVALID_OPCODE].contains(&fault.vector), "{fault:x?}");
}
