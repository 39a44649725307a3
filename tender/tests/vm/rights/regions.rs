//! What may be done where: read, write, execute, in each region.

use super::machine::{GENERAL_PROTECTION, PAGE_FAULT, Ran, booted};
use crate::support::{guest, no_kvm};
use coracle_tender::instance::End;
use coracle_tender::layout::{EDIT_LIST, FAULT_STACK, PAGE_TABLES, Placement, Places, STUB, TABLES};
use object::{Object, ObjectSymbol};

/// What becomes of an access.
#[derive(Debug, Clone, Copy)]
enum Access {
    Allowed,
    /// A page fault that says that nothing is mapped.
    Absent,
    /// A page fault that says that what is mapped does not allow it.
    Forbidden,
}
use Access::{Absent, Allowed, Forbidden};

/// Error codes of page faults at CPL 3 (Intel SDM volume 3, section 5.7).
const PRESENT: u64 = 1;
const ACTIONS: [(&str, u64); 3] = [("read", 4), ("write", 4 | 2), ("execute", 4 | 16)];

/// Reads, writes and executes an address in turn and compares what becomes of it.
fn expect(region: &str, address: impl Fn(&Places) -> u64, outcomes: [Access; 3]) {
    if no_kvm() {
        return;
    }
    // With fixed places the address that one guest is given is where another had it.
    let places = booted("touch", &[], Placement::Fixed, |instance| *instance.places());
    let address = address(&places);
    for ((action, bits), outcome) in ACTIONS.into_iter().zip(outcomes) {
        let what = format!("{action} {region} at {address:#x}");
        let ran = Ran::of("touch", &[action, &format!("{address:x}")], Placement::Fixed);
        assert_eq!(ran.places, places, "{what}");
        let code = match outcome {
            Allowed => {
                assert!(matches!(ran.end, End::Exited(0)), "{what}: {:x?}", ran.end);
                continue;
            }
            Absent => bits,
            Forbidden => bits | PRESENT,
        };
        let End::Faulted(fault) = &ran.end else { panic!("{what}: {:x?}", ran.end) };
        assert_eq!(fault.vector, PAGE_FAULT, "{what}: {fault:x?}");
        assert_eq!(fault.address, address, "{what}: {fault:x?}");
        assert_eq!(fault.error_code, code, "{what}: {fault:x?}");
    }
}

/// Where a symbol of the guest lies.
fn symbol(places: &Places, name: &str) -> u64 {
    let bytes = std::fs::read(guest("touch")).expect("the guest is there");
    let file = object::File::parse(&*bytes).expect("the guest is an ELF file");
    let found = file.symbol_by_name(name).unwrap_or_else(|| panic!("the guest has no symbol {name}"));
    found.address().wrapping_add(places.bias)
}

#[test]
fn the_zero_page_is_not_there() {
    expect("the zero page", |_| 0x10, [Absent; 3]);
}

#[test]
fn the_boot_page_can_only_be_read() {
    expect("the boot page", |places| places.boot, [Allowed, Forbidden, Forbidden]);
}

#[test]
fn the_page_before_the_boot_page_is_not_there() {
    expect("before the boot page", |places| places.boot - 8, [Absent; 3]);
}

#[test]
fn the_entry_page_can_be_read_and_executed() {
    expect("the entry page", Places::entry, [Allowed, Forbidden, Allowed]);
}

#[test]
fn text_can_be_read_and_executed() {
    expect("text", |places| symbol(places, "in_text"), [Allowed, Forbidden, Allowed]);
}

#[test]
fn constants_can_only_be_read() {
    expect("a constant", |places| symbol(places, "IN_CONSTANTS"), [Allowed, Forbidden, Forbidden]);
}

#[test]
fn what_is_relocated_once_can_only_be_read() {
    expect("RELRO", |places| symbol(places, "IN_RELRO"), [Allowed, Forbidden, Forbidden]);
}

#[test]
fn data_cannot_be_executed() {
    expect("data", |places| symbol(places, "IN_DATA"), [Allowed, Allowed, Forbidden]);
}

#[test]
fn bss_cannot_be_executed() {
    expect("bss", |places| symbol(places, "IN_BSS"), [Allowed, Allowed, Forbidden]);
}

#[test]
fn the_page_after_the_image_is_not_there() {
    expect("after the image", |places| places.image.end(), [Absent; 3]);
}

#[test]
fn the_stack_cannot_be_executed() {
    expect("the stack's lowest page", |places| places.stack.start, [Allowed, Allowed, Forbidden]);
}

#[test]
fn the_page_below_the_stack_is_not_there() {
    expect("below the stack", |places| places.stack.start - 8, [Absent; 3]);
}

#[test]
fn the_page_above_the_stack_is_not_there() {
    expect("above the stack", |places| places.stack.end(), [Absent; 3]);
}

#[test]
fn the_heap_cannot_be_executed() {
    expect("the heap's last page", |places| places.heap.end() - 8, [Allowed, Allowed, Forbidden]);
}

#[test]
fn the_page_below_the_heap_is_not_there() {
    expect("below the heap", |places| places.heap.start - 8, [Absent; 3]);
}

#[test]
fn the_page_past_the_heap_is_not_there() {
    expect("past the heap", |places| places.heap.end(), [Absent; 3]);
}

#[test]
fn the_page_of_gdt_idt_and_tss_cannot_be_touched() {
    expect("the tables page", |places| places.system.start + TABLES, [Forbidden; 3]);
}

#[test]
fn the_stub_cannot_be_touched() {
    expect("the stub", |places| places.system.start + STUB, [Forbidden; 3]);
}

#[test]
fn the_stack_of_faults_cannot_be_touched() {
    expect("the fault stack", |places| places.system.start + FAULT_STACK, [Forbidden; 3]);
}

#[test]
fn the_list_of_edits_cannot_be_touched() {
    expect("the edit list", |places| places.system.start + EDIT_LIST, [Forbidden; 3]);
}

#[test]
fn the_page_tables_cannot_be_touched() {
    expect("the first page table", |places| places.system.start + PAGE_TABLES, [Forbidden; 3]);
    expect("the last page table", |places| places.system.end() - 8, [Forbidden; 3]);
}

#[test]
fn the_page_past_the_system_place_is_not_there() {
    expect("past the system place", |places| places.system.end(), [Absent; 3]);
}

#[test]
fn the_upper_half_of_the_address_space_faults() {
    if no_kvm() {
        return;
    }
    for address in [0x8000_0000_0000_u64, 0x1234_5678_9abc_def0, 0xffff_8000_0000_0000, 0xffff_ffff_ff60_0000]
    {
        for (action, _) in ACTIONS {
            let ran = Ran::of("touch", &[action, &format!("{address:x}")], Placement::Random);
            let End::Faulted(fault) = &ran.end else { panic!("{action} {address:#x}: {:x?}", ran.end) };
            let known = [PAGE_FAULT, GENERAL_PROTECTION].contains(&fault.vector);
            assert!(known, "{action} {address:#x}: {fault:x?}");
        }
    }
}
