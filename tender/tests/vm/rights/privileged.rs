//! Instructions that need CPL 0 fault.

use super::code::{Code, code, run};
use super::machine::{GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT};
use crate::support::no_kvm;
use coracle_tender::instance::End;

/// Runs each piece of code, the last instruction of which is to fault.
#[track_caller]
fn all_fault(pieces: &[(&str, Code)]) {
    if no_kvm() {
        return;
    }
    for (name, code) in pieces {
        let ran = run(*code);
        let End::Faulted(fault) = &ran.end else { panic!("{name}: {:x?}", ran.end) };
        // What comes to its end shows a mark that the instruction itself is preceded by.
        assert_eq!(fault.registers.r15, 0x15, "{name} did not fault: {fault:x?}");
        let vector = [GENERAL_PROTECTION, INVALID_OPCODE].contains(&fault.vector);
        assert!(vector && fault.error_code == 0, "{name}: {fault:x?}");
    }
}

/// Code that marks in r15 that the last instruction is the next one, and takes the mark away after it.
macro_rules! marked {
    ($($setup:literal,)* => $instruction:literal) => {
        ($instruction, code!($($setup,)* "mov r15d, 0x15", $instruction, "mov r15d, 0"))
    };
}

#[test]
fn halting_faults() {
    all_fault(&[marked!(=> "hlt")]);
}

#[test]
fn control_registers_cannot_be_read() {
    all_fault(&[
        marked!(=> "mov rax, cr0"),
        marked!(=> "mov rax, cr2"),
        marked!(=> "mov rax, cr3"),
        marked!(=> "mov rax, cr4"),
        marked!(=> "mov rax, cr8"),
    ]);
}

#[test]
fn control_registers_cannot_be_written() {
    all_fault(&[
        marked!("xor eax, eax", => "mov cr0, rax"),
        marked!("xor eax, eax", => "mov cr2, rax"),
        marked!("xor eax, eax", => "mov cr3, rax"),
        marked!("xor eax, eax", => "mov cr4, rax"),
        marked!("xor eax, eax", => "mov cr8, rax"),
        marked!("xor eax, eax", => "lmsw ax"),
        marked!(=> "clts"),
        marked!("xor eax, eax", "xor ecx, ecx", "xor edx, edx", => "xsetbv"),
    ]);
}

#[test]
fn debug_registers_cannot_be_used() {
    all_fault(&[
        marked!(=> "mov rax, dr0"),
        marked!(=> "mov rax, dr6"),
        marked!(=> "mov rax, dr7"),
        marked!("xor eax, eax", => "mov dr0, rax"),
        marked!("xor eax, eax", => "mov dr7, rax"),
    ]);
}

#[test]
fn descriptor_tables_cannot_be_loaded() {
    all_fault(&[
        marked!(=> "lgdt [rdi]"),
        marked!(=> "lidt [rdi]"),
        marked!("xor eax, eax", => "lldt ax"),
        marked!("mov eax, 0x28", => "ltr ax"),
    ]);
}

#[test]
fn caches_and_translations_cannot_be_thrown_away() {
    all_fault(&[
        marked!(=> "invd"),
        marked!(=> "wbinvd"),
        marked!(=> "invlpg [rdi]"),
        marked!("xor eax, eax", => "invpcid rax, [rdi]"),
    ]);
}

#[test]
fn model_specific_registers_cannot_be_read() {
    all_fault(&[
        marked!("mov ecx, 0x10", => "rdmsr"),
        marked!("mov ecx, 0x1b", => "rdmsr"),
        marked!("mov ecx, 0xc0000080", => "rdmsr"),
        marked!("mov ecx, 0xc0000082", => "rdmsr"),
        marked!("mov ecx, 0x4b564d01", => "rdmsr"),
    ]);
}

#[test]
fn model_specific_registers_cannot_be_written() {
    all_fault(&[
        marked!("mov ecx, 0x10", "xor eax, eax", "xor edx, edx", => "wrmsr"),
        marked!("mov ecx, 0xc0000080", "xor eax, eax", "xor edx, edx", => "wrmsr"),
        marked!("mov ecx, 0xc0000082", "xor eax, eax", "xor edx, edx", => "wrmsr"),
        marked!("mov ecx, 0x4b564d01", "xor eax, eax", "xor edx, edx", => "wrmsr"),
    ]);
}

#[test]
fn performance_counters_cannot_be_read() {
    all_fault(&[marked!("xor ecx, ecx", => "rdpmc"), marked!("mov ecx, 0x40000000", => "rdpmc")]);
}

#[test]
fn what_ends_a_system_call_faults() {
    all_fault(&[
        marked!(=> "swapgs"),
        marked!("mov rcx, rdx", "mov r11d, 2", => ".byte 0x48, 0x0f, 0x07"), // sysretq
        marked!("mov rcx, rdx", "mov r11d, 2", => ".byte 0x0f, 0x07"),       // sysretl
        marked!("mov rcx, rsp", => ".byte 0x48, 0x0f, 0x35"),                // sysexitq
        marked!("mov rcx, rsp", => ".byte 0x0f, 0x35"),                      // sysexit
    ]);
}

#[test]
fn waiting_for_a_write_faults() {
    all_fault(&[
        marked!("mov rax, rdi", "xor ecx, ecx", "xor edx, edx", => "monitor"),
        marked!("xor eax, eax", "xor ecx, ecx", => "mwait"),
    ]);
}

#[test]
fn access_checks_of_cpl_0_cannot_be_switched() {
    all_fault(&[marked!(=> "stac"), marked!(=> "clac")]);
}

#[test]
fn extended_state_of_cpl_0_cannot_be_saved_or_restored() {
    all_fault(&[
        marked!("xor eax, eax", "xor edx, edx", => "xsaves [rdi]"),
        marked!("xor eax, eax", "xor edx, edx", => "xrstors [rdi]"),
    ]);
}

#[test]
fn a_hypervisor_cannot_be_started() {
    all_fault(&[
        marked!(=> "vmxoff"),
        marked!(=> "vmlaunch"),
        marked!(=> "vmresume"),
        marked!(=> "vmxon [rdi]"),
        marked!(=> "vmptrld [rdi]"),
        marked!("xor eax, eax", => "vmread rcx, rax"),
        marked!("xor eax, eax", => "vmwrite rax, rcx"),
        marked!("mov rax, rdi", => "vmrun"),
        marked!("mov rax, rdi", => "vmload"),
        marked!("mov rax, rdi", => "vmsave"),
        marked!(=> "stgi"),
        marked!(=> "clgi"),
        marked!("xor ecx, ecx", => "invlpga"),
        marked!(=> "rsm"),
        marked!(=> "getsec"),
    ]);
}

#[test]
fn entering_a_kernel_by_sysenter_faults() {
    all_fault(&[marked!(=> "sysenter")]);
}

/// One KVM goes to where the kernel would have its entry: nowhere, at address 0.
#[test]
fn entering_a_kernel_by_syscall_faults() {
    if no_kvm() {
        return;
    }
    let fault = run(code!("mov r15d, 0x15", "syscall", "mov r15d, 0")).fault();
    assert_eq!(fault.registers.r15, 0x15, "{fault:x?}");
    let nowhere = (fault.vector, fault.error_code, fault.address) == (PAGE_FAULT, 0x14, 0);
    assert!(nowhere || fault.vector == INVALID_OPCODE, "{fault:x?}");
}

/// KVMs differ in what these do at CPL 3: fault, or come back, or put the instruction in place that
/// the CPU at hand has, which is a write to where nothing may be written. None may reach a
/// hypervisor's services (number 9 would be the pairing of clocks, which writes to memory).
#[test]
fn calls_to_the_hypervisor_do_nothing() {
    if no_kvm() {
        return;
    }
    let calls: [(&str, Code); 2] = [
        ("vmcall", code!("mov eax, 9", "mov rbx, rdi", "xor ecx, ecx", "vmcall")),
        ("vmmcall", code!("mov eax, 9", "mov rbx, rdi", "xor ecx, ecx", "vmmcall")),
    ];
    for (name, code) in calls {
        let ran = run(code);
        let fault = ran.fault();
        let replaced = fault.vector == PAGE_FAULT && fault.address == fault.registers.rip;
        let refused = [GENERAL_PROTECTION, INVALID_OPCODE].contains(&fault.vector);
        assert!(replaced || refused, "{name}: {fault:x?}");
        assert!(ran.buffer.iter().all(|byte| *byte == 0), "{name} wrote to memory");
    }
}
