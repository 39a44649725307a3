//! System calls, by every instruction that makes one.

use super::attempt_bytes;
use crate::rights::machine::{GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT};
use coracle_tender::report::Fault;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

/// What marks the numbers of x32.
const X32: u32 = 0x4000_0000;

const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSENTER: &[u8] = &[0x0f, 0x34];
const INT_80: &[u8] = &[0xcd, 0x80];

/// How many numbers from 0 on are tried: far more than Linux has calls, and as many as fit into 16 bits in the long
/// runs of `cargo xtask nightly`.
fn first() -> u32 {
    match std::env::var("CORACLE_SYSTEM_CALLS") {
        Ok(count) => count.parse().expect("CORACLE_SYSTEM_CALLS is a number"),
        Err(_) => 1024,
    }
}

/// The first numbers, those with single bits, the last ones, and some at random.
fn numbers() -> BTreeSet<u32> {
    let bits = (0..u32::BITS).flat_map(|bit| [1 << bit, !(1 << bit)]);
    let random = (0..first() / 8).map(|_| RandomState::new().build_hasher().finish() as u32);
    (0..first()).chain(bits).chain([u32::MAX]).chain(random).collect()
}

/// `mov eax, number`, then an instruction, then code that marks that it came back.
fn with_number(number: u32, instruction: &[u8]) -> Fault {
    const MARK: [u8; 8] = [0x41, 0xbf, 0x15, 0, 0, 0, 0x0f, 0x0b];
    let code = [&[0xb8], &number.to_le_bytes()[..], instruction, &MARK].concat();
    let fault = attempt_bytes(&code).fault();
    assert_ne!(fault.registers.r15, 0x15, "call {number:#x} by {instruction:x?} came back: {fault:x?}");
    fault
}

/// Tries an instruction with all of the numbers, and says with how many.
fn with_all(numbers: impl IntoIterator<Item = u32>, instruction: &[u8], expect: impl Fn(u32, Fault)) {
    let count = numbers.into_iter().map(|number| expect(number, with_number(number, instruction))).count();
    println!("{count} numbers");
}

#[test]
fn every_system_call_is_an_invalid_instruction() {
    with_all(numbers(), SYSCALL, |number, fault| {
        assert_eq!((fault.vector, fault.registers.rax), (INVALID_OPCODE, number.into()), "{fault:x?}");
    });
}

#[test]
fn system_calls_of_x32_are_invalid_instructions() {
    with_all((0..first()).map(|number| X32 | number), SYSCALL, |number, fault| {
        assert_eq!((fault.vector, fault.registers.rax), (INVALID_OPCODE, number.into()), "{fault:x?}");
    });
}

#[test]
fn system_calls_of_32_bits_by_an_interrupt_end_the_guest() {
    with_all(numbers(), INT_80, |number, fault| {
        assert_eq!((fault.vector, fault.error_code), (GENERAL_PROTECTION, 0x402), "{fault:x?}");
        assert_eq!(fault.registers.rax, u64::from(number), "{fault:x?}");
    });
}

#[test]
fn system_calls_of_32_bits_by_sysenter_end_the_guest() {
    // CPUs of AMD have it in 32-bit code alone (AMD64 volume 3, SYSENTER).
    let is_amd = std::arch::x86_64::__cpuid(0).ebx.to_le_bytes() == *b"Auth";
    let vector = if is_amd { INVALID_OPCODE } else { GENERAL_PROTECTION };
    with_all(numbers(), SYSENTER, |_, fault| assert_eq!(fault.vector, vector, "{fault:x?}"));
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
