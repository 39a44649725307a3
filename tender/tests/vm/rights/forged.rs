//! Faults are believed from the stub alone.

use super::code::{code, hexadecimal, run, run_at};
use super::machine::{BREAKPOINT, PAGE_FAULT, Ran};
use crate::support::no_kvm;
use coracle_tender::cpu::FAULT_PORT;
use coracle_tender::cpu::entry::EDIT_TRAP;
use coracle_tender::cpu::stub::{VECTORS, entry_offset};
use coracle_tender::instance::End;
use coracle_tender::layout::{FAULT_STACK_TOP, Placement, STUB};

#[track_caller]
fn is_only_a_port(ran: &Ran, what: &str) {
    let expected = u16::from(FAULT_PORT);
    let believed = !matches!(ran.end, End::Port { port, width: 1, write: true, .. } if port == expected);
    assert!(!believed, "{what}: {:x?}", ran.end);
}

#[test]
fn the_stubs_port_used_by_the_guest_is_an_access_to_a_port() {
    if no_kvm() {
        return;
    }
    let code = code!("mov eax, 14", "mov ecx, 14", "mov edx, 14", "out 0x11, al");
    is_only_a_port(&run(code), "out from the guest's own code");
}

#[test]
fn the_stubs_port_used_at_an_address_that_ends_as_in_the_stub_is_an_access_to_a_port() {
    if no_kvm() {
        return;
    }
    let out = [0xe6, FAULT_PORT, 0x0f, 0x0b];
    for vector in 0..VECTORS {
        is_only_a_port(&run_at(entry_offset(vector), &out), &format!("out at the entry of vector {vector}"));
    }
}

#[test]
fn a_breakpoint_is_reported_as_one_with_the_guests_own_registers() {
    if no_kvm() {
        return;
    }
    let fault = run(code!("mov eax, 14", "mov ecx, 0x11", "mov rsi, -1", "mov rdi, -1", "int3")).fault();
    assert_eq!((fault.vector, fault.error_code), (BREAKPOINT, 0));
    let registers = fault.registers;
    assert_eq!([registers.rax, registers.rcx, registers.rsi, registers.rdi], [14, 0x11, u64::MAX, u64::MAX]);
}

#[test]
fn the_breakpoint_of_the_entry_page_edits_nothing_of_its_own() {
    if no_kvm() {
        return;
    }
    let first = Ran::of("touch", &["execute", "0"], Placement::Fixed);
    let trap = first.places.entry() + EDIT_TRAP;
    let ran = Ran::of("touch", &["execute", &format!("{trap:x}")], Placement::Fixed);
    assert_eq!(ran.fault().vector, BREAKPOINT);
    assert_eq!(ran.leaves, first.leaves);
}

#[test]
fn a_jump_to_the_stub_is_a_page_fault_there() {
    if no_kvm() {
        return;
    }
    let places = Ran::of("touch", &["execute", "0"], Placement::Fixed).places;
    for vector in 0..VECTORS {
        let entry = places.system.start + STUB + entry_offset(vector);
        let fault = Ran::of("touch", &["execute", &format!("{entry:x}")], Placement::Fixed).fault();
        assert_eq!((fault.vector, fault.address), (PAGE_FAULT, entry), "{fault:x?}");
        assert_eq!(fault.registers.rip, entry, "{fault:x?}");
    }
}

#[test]
fn a_guest_whose_stack_pointer_is_in_the_system_place_changes_nothing_of_what_is_reported() {
    if no_kvm() {
        return;
    }
    let system = Ran::of("run_code", &[], Placement::Fixed).places.system;
    let top = system.start + FAULT_STACK_TOP;
    for pointer in [top, top - 40, system.start] {
        // mov rsp, pointer; mov eax, 7; ud2
        let code = [&[0x48, 0xbc][..], &pointer.to_le_bytes(), &[0xb8, 7, 0, 0, 0, 0x0f, 0x0b]].concat();
        let registers = Ran::of("run_code", &[&hexadecimal(&code)], Placement::Fixed).registers();
        assert_eq!((registers.rsp, registers.rax), (pointer, 7), "{registers:x?}");
    }
}

#[test]
fn a_guest_that_pushes_a_frame_onto_the_stack_of_faults_is_stopped_by_a_page_fault() {
    if no_kvm() {
        return;
    }
    let system = Ran::of("run_code", &[], Placement::Fixed).places.system;
    let pointer = system.start + FAULT_STACK_TOP;
    // mov rsp, pointer; push rax; ud2
    let code = [&[0x48, 0xbc][..], &pointer.to_le_bytes(), &[0x50, 0x0f, 0x0b]].concat();
    let fault = Ran::of("run_code", &[&hexadecimal(&code)], Placement::Fixed).fault();
    assert_eq!((fault.vector, fault.error_code, fault.address), (PAGE_FAULT, 7, pointer - 8), "{fault:x?}");
}
