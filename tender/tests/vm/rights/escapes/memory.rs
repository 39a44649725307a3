//! What the guest has in its address space, and that nothing else is there.

use super::{attempt, attempt_bytes};
use crate::rights::code::{code, run};
use crate::rights::machine::{GENERAL_PROTECTION, PAGE_FAULT, Ran};
use crate::support::no_kvm;
use coracle_hypercall::memory::Rights;
use coracle_tender::instance::End;
use coracle_tender::layout::Placement;
use std::ops::Range;

#[test]
fn the_vsyscall_page_cannot_be_read() {
    let fault = attempt(code!("mov rax, -0xa00000", "mov rax, [rax]")).fault();
    assert_eq!((fault.vector, fault.address), (PAGE_FAULT, 0xffff_ffff_ff60_0000));
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

/// Ranges of what a guest can reach at all, at the end of a run.
fn regions(ran: &Ran) -> Vec<Range<u64>> {
    let mut regions: Vec<Range<u64>> = Vec::new();
    for leaf in ran.leaves.iter().filter(|leaf| leaf.translation.user) {
        match regions.last_mut() {
            Some(last) if last.end == leaf.address => last.end += leaf.size,
            _ => regions.push(leaf.address..leaf.address + leaf.size),
        }
    }
    regions
}

#[test]
fn every_region_can_be_read_to_its_ends_and_not_beyond() {
    if no_kvm() {
        return;
    }
    // With fixed places each guest has its regions where the others have.
    let read = |address: u64| Ran::of("touch", &["read", &format!("{address:x}")], Placement::Fixed);
    let first = read(Ran::of("touch", &[], Placement::Fixed).places.stack.start);
    let regions = regions(&first);
    assert!(regions.len() >= 3, "{regions:x?}");
    let readable = |address: u64| {
        let leaf =
            first.leaves.iter().find(|leaf| (leaf.address..leaf.address + leaf.size).contains(&address));
        leaf.is_some_and(|leaf| leaf.translation.rights.contains(Rights::READ))
    };
    for Range { start, end } in regions {
        for inside in [start, end - 1] {
            let ran = read(inside);
            let is_read = matches!(ran.end, End::Exited(0));
            assert_eq!(is_read, readable(inside), "{inside:#x}: {:x?}", ran.end);
        }
        for outside in [start - 1, end] {
            let fault = read(outside).fault();
            assert_eq!((fault.vector, fault.error_code, fault.address), (PAGE_FAULT, 4, outside));
        }
    }
}

/// A thread with this personality has all that it can read be executable, and its children too.
#[test]
fn data_is_not_executable_where_the_tender_has_it_so() {
    if no_kvm() {
        return;
    }
    const READ_IMPLIES_EXEC: libc::c_ulong = 0x0040_0000;
    let guests = std::thread::spawn(|| {
        // SAFETY: the call takes a number, and what is mapped by this thread is used by it alone.
        assert_ne!(unsafe { libc::personality(READ_IMPLIES_EXEC) }, -1);
        [run(code!("mov word ptr [rdi], 0x0b0f", "jmp rdi")), run(code!("push 0x0b0f", "jmp rsp"))]
    });
    for ran in guests.join().expect("the guests run") {
        let fault = ran.fault();
        assert_eq!((fault.vector, fault.error_code), (PAGE_FAULT, 0x15), "{fault:x?}");
        assert_eq!(fault.address, fault.registers.rip, "{fault:x?}");
    }
}
