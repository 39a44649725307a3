//! The words and statuses for each kind of fault.

use super::World;
use crate::registers::Registers;
use crate::report::cause::explain;
use crate::report::{Cause, Fault};
use coracle_hypercall::exit;
use coracle_hypercall::memory::PAGE;

/// The headline and status for a fault in the usual world.
fn fault(world: &World, vector: u8, error_code: u64, address: u64, registers: Registers) -> (String, u8) {
    let fault = Fault { vector, error_code, address, registers };
    let finding = explain(&Cause::Fault(&fault), &world.scene());
    (finding.headline.replace("guest crashed: ", ""), finding.status)
}

fn page_fault(world: &World, error_code: u64, address: u64) -> String {
    let registers =
        Registers { rip: world.places.image.start, rsp: world.places.stack.start, ..Registers::default() };
    let (words, status) = fault(world, 14, error_code, address, registers);
    assert_eq!(status, exit::BAD_ACCESS);
    words
}

/// The words for an exception at an instruction.
fn at(code: &[u8], vector: u8, registers: Registers) -> (String, u8) {
    let mut world = World::new();
    let rip = world.places.image.start;
    world.put(rip, code);
    fault(&world, vector, 0, 0, Registers { rip, ..registers })
}

const READ: u64 = 4;
const WRITE: u64 = 6;
const FETCH: u64 = 0x14;
const PRESENT: u64 = 1;

#[test]
fn a_write_to_constants_is_named() {
    let world = World::new();
    let address = world.constants();
    let words = page_fault(&world, WRITE | PRESENT, address);
    assert_eq!(words, format!("write to {address:#x}, which is read-only (image, constants)"));
}

#[test]
fn a_write_to_code_is_named() {
    let world = World::new();
    let words = page_fault(&world, WRITE | PRESENT, world.places.image.start + 5);
    assert!(words.ends_with("which is read-only (image, code)"), "{words}");
}

#[test]
fn a_jump_into_data_stack_or_heap_is_named() {
    let world = World::new();
    for (address, place) in [
        (world.data(), "image, data"),
        (world.places.stack.start, "the stack"),
        (world.places.heap.start, "the heap"),
    ] {
        let words = page_fault(&world, FETCH | PRESENT, address);
        assert_eq!(words, format!("jump to {address:#x}, which is not executable ({place})"));
    }
}

#[test]
fn a_null_pointer_is_named_with_its_offset() {
    let world = World::new();
    assert_eq!(page_fault(&world, READ, 0), "read from 0x0, a null pointer");
    assert_eq!(page_fault(&world, WRITE, 0x18), "write to 0x18, a null pointer plus 24 bytes");
    assert_eq!(page_fault(&world, FETCH, 0), "jump to 0x0, a null pointer");
}

#[test]
fn an_access_below_the_stack_is_an_overflow() {
    let world = World::new();
    let words = page_fault(&world, WRITE, world.places.stack.start - 24);
    assert!(words.starts_with("stack overflow: write to 0x"), "{words}");
    assert!(words.ends_with("which is not mapped: 24 bytes below the stack"), "{words}");
}

#[test]
fn a_guard_that_the_program_made_is_an_overflow_only_at_the_top_of_a_stack() {
    let mut world = World::new();
    let guard = world.places.heap.start + 0x4000;
    world.forbid(guard, PAGE);
    let registers = Registers { rsp: guard + PAGE, ..Registers::default() };
    let (words, _) = fault(&world, 14, WRITE | PRESENT, guard + PAGE - 8, registers);
    assert!(words.starts_with("stack overflow: "), "{words}");
    let words = page_fault(&world, WRITE | PRESENT, guard);
    assert!(words.ends_with("which the guest itself made inaccessible (the heap)"), "{words}");
}

#[test]
fn an_access_past_the_heap_or_the_stack_says_how_far() {
    let world = World::new();
    let words = page_fault(&world, READ, world.places.heap.end() + 16);
    assert!(words.ends_with("which is not mapped: 16 bytes past the end of the heap"), "{words}");
    let words = page_fault(&world, READ, world.places.stack.end());
    assert!(words.ends_with("which is not mapped: just past the end of the stack"), "{words}");
}

#[test]
fn the_tenders_own_memory_is_said_to_be_the_tenders() {
    let world = World::new();
    let words = page_fault(&world, READ | PRESENT, world.places.system.start + 8);
    assert!(words.ends_with("which belongs to the tender and not to the guest"), "{words}");
}

#[test]
fn a_write_to_the_boot_and_entry_pages_is_named() {
    let world = World::new();
    let words = page_fault(&world, WRITE | PRESENT, world.places.boot);
    assert!(words.ends_with("which is read-only (the boot page)"), "{words}");
    let words = page_fault(&world, WRITE | PRESENT, world.places.boot + PAGE);
    assert!(words.ends_with("which is read-only (the entry page)"), "{words}");
}

#[test]
fn an_address_near_nothing_is_said_to_be_so() {
    let words = page_fault(&World::new(), READ, 0x1234_5678_9000);
    assert_eq!(words, "read from 0x123456789000, which is not mapped: nothing is near it");
}

#[test]
fn a_fault_that_rights_do_not_explain_is_called_a_bug() {
    let world = World::new();
    let words = page_fault(&world, READ | PRESENT, world.places.heap.start);
    assert!(words.contains("a bug in Coracle"), "{words}");
}

#[test]
fn an_address_that_does_not_exist_is_found_from_the_instruction() {
    // mov rax, [rcx+8]
    let registers = Registers { rcx: 0xdead_beef_0000_0000, ..Registers::default() };
    let (words, status) = at(&[0x48, 0x8b, 0x41, 0x08], 13, registers);
    assert_eq!(words, "access to 0xdeadbeef00000008, which is not an address that exists");
    assert_eq!(status, exit::BAD_ACCESS);
}

#[test]
fn a_jump_to_an_address_that_does_not_exist_is_found_before_and_after_it() {
    let bad = 0x8000_0000_0000;
    // call r8
    let (before, _) = at(&[0x41, 0xff, 0xd0], 13, Registers { r8: bad, ..Registers::default() });
    let (after, _) = fault(&World::new(), 13, 0, 0, Registers { rip: bad, ..Registers::default() });
    assert_eq!(before, "jump to 0x800000000000, which is not an address that exists");
    assert_eq!(after, before);
}

#[test]
fn a_return_to_an_address_that_does_not_exist_is_found_on_the_stack() {
    let mut world = World::new();
    let (rip, rsp) = (world.places.image.start, world.places.stack.start);
    world.put(rip, &[0xc3]);
    world.put(rsp, &0x4141_4141_4141_4141_u64.to_le_bytes());
    let (words, _) = fault(&world, 13, 0, 0, Registers { rip, rsp, ..Registers::default() });
    assert_eq!(words, "jump to 0x4141414141414141, which is not an address that exists");
}

#[test]
fn a_misaligned_vector_access_is_named() {
    // movaps xmm0, [rax]
    let (words, _) = at(&[0x0f, 0x28, 0x00], 13, Registers { rax: 0x1008, ..Registers::default() });
    assert_eq!(words, "access to 0x1008, which is not aligned as the instruction needs it");
}

#[test]
fn privileged_instructions_end_with_the_status_of_illegal_ones() {
    for (code, name) in
        [(&[0xfa][..], "cli"), (&[0xf4], "hlt"), (&[0x0f, 0x30], "wrmsr"), (&[0xcd, 0x21], "int 0x21")]
    {
        let (words, status) = at(code, 13, Registers::default());
        assert_eq!(words, format!("{name}, an instruction that a guest may not execute"));
        assert_eq!(status, exit::ILLEGAL_INSTRUCTION);
    }
}

#[test]
fn an_illegal_instruction_is_shown_by_its_bytes() {
    let mut code = [0x90; 15];
    code[..3].copy_from_slice(&[0x0f, 0xff, 0xc0]);
    let (words, status) = at(&code, 6, Registers::default());
    assert_eq!(words, "illegal instruction: 0f ff c0 90 90 90 90 90 90 90 90 90 90 90 90");
    assert_eq!(status, exit::ILLEGAL_INSTRUCTION);
}

#[test]
fn ud2_is_the_programs_own_end() {
    let (words, status) = at(&[0x0f, 0x0b], 6, Registers::default());
    assert!(words.starts_with("the program stopped itself (ud2"), "{words}");
    assert_eq!(status, exit::ILLEGAL_INSTRUCTION);
}

#[test]
fn every_kind_of_system_call_is_told_that_there_is_no_linux() {
    for (code, vector, name) in [
        (&[0x0f, 0x05][..], 6, "syscall"),
        (&[0x0f, 0x34], 13, "sysenter"),
        (&[0x0f, 0x34], 6, "sysenter"),
        (&[0xcd, 0x80], 13, "int 0x80"),
        (&[0xcd, 0x80], 6, "int 0x80"),
    ] {
        let (words, status) = at(code, vector, Registers { rax: 39, ..Registers::default() });
        assert_eq!(words, format!("system call 39 ({name}): a Coracle guest has no Linux underneath"));
        assert_eq!(status, exit::ILLEGAL_INSTRUCTION);
    }
}

#[test]
fn a_system_call_that_was_taken_to_address_zero_is_found_before_rcx() {
    let mut world = World::new();
    let call = world.places.image.start + 0x20;
    world.put(call, &[0x0f, 0x05]);
    let registers = Registers { rip: 0, rcx: call + 2, rax: 1, ..Registers::default() };
    let fault = Fault { vector: 14, error_code: FETCH, address: 0, registers };
    let finding = explain(&Cause::Fault(&fault), &world.scene());
    assert!(finding.headline.contains("system call 1 (syscall)"), "{}", finding.headline);
    assert_eq!(finding.start.registers.rip, call);
}

#[test]
fn arithmetic_and_traps_have_the_statuses_of_their_signals() {
    let none = Registers::default();
    for (vector, words, status) in [
        (0, "division", exit::ARITHMETIC),
        (16, "x87", exit::ARITHMETIC),
        (19, "SIMD", exit::ARITHMETIC),
        (1, "single step", exit::TRAP),
        (3, "breakpoint", exit::TRAP),
        (17, "not aligned", exit::BAD_ACCESS),
        (4, "overflow", exit::BAD_ACCESS),
    ] {
        let (said, with) = at(&[0x90], vector, none);
        assert!(said.contains(words), "{said}");
        assert_eq!(with, status, "{said}");
    }
}

#[test]
fn a_bad_stack_pointer_is_named() {
    let (words, status) = at(&[0x50], 12, Registers { rsp: 1 << 60, ..Registers::default() });
    assert_eq!(words, "the stack pointer is 0x1000000000000000, which is not an address that exists");
    assert_eq!(status, exit::BAD_ACCESS);
}

#[test]
fn every_vector_has_words_and_a_status() {
    for vector in 0..=u8::MAX {
        let (words, status) = at(&[0x90], vector, Registers::default());
        assert!(!words.is_empty() && status >= exit::TENDER, "{vector}");
    }
}

#[test]
fn a_forbidden_port_is_named_with_direction_and_width() {
    let world = World::new();
    let cause = Cause::Port { port: 0x80, width: 1, write: true, registers: Registers::default() };
    let finding = explain(&cause, &world.scene());
    assert_eq!(
        finding.headline,
        "guest crashed: write to I/O port 0x80 (1 byte), which is not for guests to use"
    );
    assert_eq!(finding.status, exit::ILLEGAL_INSTRUCTION);
}

#[test]
fn a_panic_is_shown_with_its_place_and_escaped_message() {
    let world = World::new();
    let cause = Cause::Panic {
        message: "first\nsecond \x1b[31m".to_owned(),
        file: "src/\x07main.rs".to_owned(),
        line: 3,
        column: 5,
        registers: Registers::default(),
    };
    let finding = explain(&cause, &world.scene());
    assert_eq!(finding.headline, "guest panicked at src/\\u{7}main.rs:3:5:");
    assert_eq!(finding.message.as_deref(), Some("first\nsecond \\u{1b}[31m"));
    assert_eq!(finding.status, exit::PANIC);
}
