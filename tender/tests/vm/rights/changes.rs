//! Rights that a guest changes on its own memory.

use super::code::{code, run};
use super::machine::{PAGE_FAULT, Ran, booted};
use crate::support::no_kvm;
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::End;
use coracle_tender::layout::{Extent, Placement, Places};

fn changed(way: &str) -> Ran {
    Ran::of("change_rights", &[way], Placement::Random)
}

#[track_caller]
fn succeeds(way: &str) {
    if no_kvm() {
        return;
    }
    let ran = changed(way);
    assert!(matches!(ran.end, End::Exited(0)), "{:x?}", ran.end);
}

/// Runs a guest that dies of a page fault within a place, at an offset in a page.
#[track_caller]
fn faults(way: &str, error_code: u64, place: fn(&Places) -> Extent, offset: u64) {
    if no_kvm() {
        return;
    }
    let ran = changed(way);
    let fault = ran.fault();
    assert_eq!((fault.vector, fault.error_code), (PAGE_FAULT, error_code), "{fault:x?}");
    assert!(place(&ran.places).contains(fault.address), "{fault:x?}");
    assert_eq!(fault.address % 4096, offset, "{fault:x?}");
}

fn heap(places: &Places) -> Extent {
    places.heap
}

fn stack(places: &Places) -> Extent {
    places.stack
}

#[test]
fn a_page_without_rights_cannot_be_read() {
    faults("read-guard", 4, heap, 8);
}

#[test]
fn a_page_without_rights_cannot_be_written() {
    faults("write-guard", 6, heap, 8);
}

#[test]
fn a_page_made_read_only_cannot_be_written() {
    faults("write-read-only", 7, heap, 8);
}

#[test]
fn a_page_made_read_only_cannot_be_executed() {
    faults("execute-read-only", 0x15, heap, 8);
}

#[test]
fn a_guard_in_the_stack_faults_and_its_neighbour_does_not() {
    faults("stack-guard", 6, stack, 8);
}

#[test]
fn rights_that_are_given_back_leave_the_content_as_it_was() {
    succeeds("give-back");
}

#[test]
fn whole_large_pages_change_and_their_neighbours_do_not() {
    faults("large-pages", 7, heap, 8);
}

#[test]
fn the_neighbours_of_a_page_without_rights_keep_theirs() {
    succeeds("neighbours");
}

#[test]
fn a_change_of_more_pages_than_one_call_takes_is_made_in_several() {
    faults("alternating", 7, heap, 0);
}

#[test]
fn an_image_that_did_not_ask_for_it_makes_no_code() {
    succeeds("make-code");
}

#[test]
fn write_and_execute_together_are_refused() {
    succeeds("write-and-execute");
}

#[test]
fn ranges_outside_of_stack_and_heap_are_refused() {
    if no_kvm() {
        return;
    }
    let places = booted("change_rights", &[], Placement::Fixed, |instance| *instance.places());
    let Places { boot, image, stack, heap, system, .. } = places;
    // Two pages at each: one of them may lie within.
    let addresses = [
        0,
        boot,
        image.start,
        image.end() - 2 * PAGE,
        stack.start - PAGE,
        stack.end() - PAGE,
        stack.end(),
        heap.start - PAGE,
        heap.end() - PAGE,
        heap.end(),
        system.start,
        system.end() - 2 * PAGE,
        1 << 46,
        1 << 47,
        u64::MAX << 20,
    ];
    let addresses = addresses.map(|address| format!("{address:x}"));
    let arguments: Vec<&str> =
        ["other-places"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    let ran = Ran::of("change_rights", &arguments, Placement::Fixed);
    assert!(matches!(ran.end, End::Exited(0)), "{:x?}", ran.end);
}

#[test]
fn ranges_and_rights_that_do_not_exist_are_refused() {
    succeeds("bad-ranges");
}

#[test]
fn an_image_that_asked_for_it_runs_code_that_it_made() {
    if no_kvm() {
        return;
    }
    let ran = run(code!("mov eax, 0x1234"));
    let registers = ran.registers();
    assert_eq!(registers.rax, 0x1234);
    assert!(ran.places.heap.contains(registers.rip));
}

#[test]
fn code_that_was_made_cannot_be_written() {
    if no_kvm() {
        return;
    }
    let fault = run(code!("mov byte ptr [rdx + 100], 0x90")).fault();
    assert_eq!((fault.vector, fault.error_code), (PAGE_FAULT, 7), "{fault:x?}");
    assert_eq!(fault.address, fault.registers.rdx + 100);
}

#[test]
fn a_change_of_rights_shows_the_guest_nothing_of_the_system_place() {
    if no_kvm() {
        return;
    }
    let ran = Ran::of("registers_after_call", &[], Placement::Random);
    let registers = ran.registers();
    assert_eq!(registers.rax, PAGE, "the call's answer");
    assert_eq!([registers.rcx, registers.rdx, registers.rsi, registers.rdi], [0; 4]);
}
