//! Flags that `popf` may not change, and those that it may and that must do no harm.

use super::code::{code, run};
use super::machine::{DEBUG, GENERAL_PROTECTION, Ran};
use crate::lane::{INTERRUPTS, beyond_bochs};
use crate::support::{guest, no_kvm, output};
use coracle_hypercall::exit;
use coracle_tender::instance::End;
use coracle_tender::layout::Placement;
use coracle_tender::registers::Registers;

/// Bits of the flags register.
const FIXED: u64 = 1 << 1;
const ARITHMETIC: u64 = 0x8d5;
const INTERRUPT: u64 = 1 << 9;
const DIRECTION: u64 = 1 << 10;
const IOPL: u64 = 3 << 12;
const NESTED_TASK: u64 = 1 << 14;
const VM: u64 = 1 << 17;
const ALIGNMENT: u64 = 1 << 18;
const VIF_VIP: u64 = 3 << 19;

/// Asserts that the flags which a guest may not change are in rax as they were in rbx.
#[track_caller]
fn assert_kept(registers: &Registers) {
    let changed = registers.rax ^ registers.rbx;
    assert_eq!(changed & (IOPL | VM | VIF_VIP), 0, "{:#x} became {:#x}", registers.rbx, registers.rax);
}

#[test]
fn flags_show_what_the_tender_chose() {
    if no_kvm() {
        return;
    }
    let shown = run(code!("pushfq", "pop rax")).registers().rax & !ARITHMETIC;
    // A KVM that runs all of the guest at the hardware's CPL 3 shows the privilege level that I/O has there.
    assert!([FIXED | INTERRUPT | IOPL, FIXED | INTERRUPT].contains(&shown), "{shown:#x}");
}

#[test]
fn popf_changes_neither_iopl_nor_the_flags_of_virtual_8086_mode() {
    if no_kvm() {
        return;
    }
    let registers = run(code!(
        "pushfq",
        "pop rbx",
        "mov rax, rbx",
        "xor eax, 0x1a3000",
        "push rax",
        "popfq",
        "pushfq",
        "pop rax",
    ))
    .registers();
    assert_kept(&registers);
}

#[test]
fn iret_changes_neither_iopl_nor_the_flags_of_virtual_8086_mode() {
    if no_kvm() {
        return;
    }
    let registers = run(code!(
        "pushfq",
        "pop rbx",
        "mov rcx, rsp",
        "mov edx, ss",
        "mov esi, cs",
        "push rdx",
        "push rcx",
        "mov rax, rbx",
        "xor eax, 0x1a3000",
        "push rax",
        "push rsi",
        "lea rax, [rip + 2f]",
        "push rax",
        "iretq",
        "2:",
        "pushfq",
        "pop rax",
    ))
    .registers();
    assert_kept(&registers);
}

#[test]
fn the_trap_flag_ends_the_guest_with_a_single_step() {
    if no_kvm() {
        return;
    }
    let ran = run(code!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop", "nop", "nop"));
    assert_eq!(ran.fault().vector, DEBUG, "{:x?}", ran.fault());
}

/// Makes a call that has the stub edit page tables, with flags set that the stub must not inherit.
#[test]
fn the_stub_edits_page_tables_whatever_flags_the_guest_has() {
    if no_kvm() {
        return;
    }
    for flags in [DIRECTION, NESTED_TASK, ALIGNMENT, DIRECTION | NESTED_TASK | ALIGNMENT] {
        let ran = Ran::of("flagged_change", &[&format!("{flags:x}")], Placement::Random);
        assert!(matches!(ran.end, End::Exited(0)), "{flags:#x}: {:x?}", ran.end);
    }
}

#[test]
fn interrupts_cannot_be_turned_off_for_good() {
    if no_kvm() {
        return;
    }
    let ran = run(code!("cli", "mov r15d, 1", "sti", "mov r15d, 2"));
    let fault = ran.fault();
    // One KVM allows it as the manual says, one does not.
    let allowed = fault.registers.r15 == 2;
    assert!(allowed || fault.vector == GENERAL_PROTECTION, "{fault:x?}");
}

#[test]
fn a_guest_with_interrupts_off_ends_when_its_time_is_up() {
    if no_kvm() || beyond_bochs(INTERRUPTS) {
        return;
    }
    let ended = output(crate::support::run::<&str>(&["--timeout", "200ms"], guest("interrupts_off"), &[]));
    let faulted = matches!(run(code!("cli")).end, End::Faulted(fault) if fault.vector == GENERAL_PROTECTION);
    let expected = if faulted { exit::ILLEGAL_INSTRUCTION } else { exit::TIMEOUT };
    assert_eq!(ended.status.code(), Some(expected.into()), "{ended:?}");
}

#[test]
fn a_guest_that_tries_to_turn_interrupts_off_by_popf_ends_when_its_time_is_up() {
    if no_kvm() || beyond_bochs(INTERRUPTS) {
        return;
    }
    let image = guest("interrupts_off");
    let ended = output(crate::support::run(&["--timeout", "200ms"], image, &["popf"]));
    assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()), "{ended:?}");
}
