//! Ports: only one is the tender's, and only for writing four bytes.

use super::code::run_bytes;
use super::machine::GENERAL_PROTECTION;
use crate::lane::times;
use crate::support::no_kvm;
use coracle_tender::cpu::HYPERCALL_PORT;
use coracle_tender::instance::End;
use std::collections::BTreeSet;

/// One way to use a port in dx: its name, its instruction, the bytes it moves.
type Form = (&'static str, &'static [u8], u8);

const READS: [Form; 6] = [
    ("in al", &[0xec], 1),
    ("in ax", &[0x66, 0xed], 2),
    ("in eax", &[0xed], 4),
    ("insb", &[0x6c], 1),
    ("insw", &[0x66, 0x6d], 2),
    ("insd", &[0x6d], 4),
];
const WRITES: [Form; 6] = [
    ("out al", &[0xee], 1),
    ("out ax", &[0x66, 0xef], 2),
    ("out eax", &[0xef], 4),
    ("outsb", &[0x6e], 1),
    ("outsw", &[0x66, 0x6f], 2),
    ("outsd", &[0x6f], 4),
];

/// How many ports are tried beside those that are known: all in the long runs of `cargo xtask nightly`.
fn further() -> u32 {
    match std::env::var("CORACLE_PORTS") {
        Ok(count) => count.parse().expect("CORACLE_PORTS is a number"),
        Err(_) => 24,
    }
}

/// Ports that devices of a PC have or that hypervisors use, the neighbours of the tender's own, and
/// [`further`] ones.
fn ports() -> BTreeSet<u16> {
    let known = [
        0, 1, 0xd, 0xe, 0xf, 0x11, 0x12, 0x13, 0x14, 0x17, 0x18, 0x20, 0x21, 0x3f, 0x40, 0x43, 0x60, 0x61,
        0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xb2, 0xed, 0x170, 0x1f0, 0x2f8, 0x3d4, 0x3f8, 0x402, 0x510,
        0x511, 0x600, 0x604, 0xcf8, 0xcf9, 0xcfc, 0x1010, 0x5658, 0x5659, 0xb004, 0xfffd, 0xfffe, 0xffff,
    ];
    // Multiples of a number that shares no factor with 65,536 visit all ports in no order to speak of.
    let others = (1..=further()).map(|index| index.wrapping_mul(40_503) as u16);
    let step = known.len() / times(known.len() as u32, 12) as usize;
    let mut ports: BTreeSet<u16> = known.into_iter().step_by(step).chain(others).collect();
    ports.remove(&HYPERCALL_PORT.into());
    ports
}

#[test]
fn all_ports_are_tried_when_as_many_as_there_are_are_asked_for() {
    let visited: BTreeSet<u16> = (1..=1 << 16).map(|index: u32| index.wrapping_mul(40_503) as u16).collect();
    assert_eq!(visited.len(), 1 << 16);
}

/// Uses a port and then comes to its end. The guest must not come so far.
fn ends_the_guest(port: u16, (name, instruction, width): Form, write: bool, repeat: Option<u8>) {
    let [low, high] = port.to_le_bytes();
    // A number and arguments of no call that ends the guest, should this make one.
    let mut code = vec![0xba, low, high, 0, 0, 0x31, 0xc0];
    if let Some(count) = repeat {
        code.extend([0xb9, count, 0, 0, 0, 0xf3]);
    }
    code.extend(instruction);
    code.extend([0x0f, 0x0b]);
    let ran = run_bytes(&code);
    let what = format!("{name} at port {port:#x}: {:x?}", ran.end);
    match ran.end {
        End::Faulted(fault) => {
            assert_eq!((fault.vector, fault.error_code), (GENERAL_PROTECTION, 0), "{what}")
        }
        End::Port { port: used, width: moved, write: wrote, .. } => {
            assert_eq!((used, wrote), (port, write), "{what}");
            let count = repeat.unwrap_or(1);
            assert!(moved >= width && moved <= width * count, "{what}");
        }
        _ => panic!("{what}"),
    }
}

#[test]
fn reading_any_port_ends_the_guest() {
    if no_kvm() {
        return;
    }
    for port in ports().into_iter().chain([HYPERCALL_PORT.into()]) {
        READS.into_iter().for_each(|form| ends_the_guest(port, form, false, None));
    }
}

#[test]
fn writing_any_port_but_the_tenders_ends_the_guest() {
    if no_kvm() {
        return;
    }
    for port in ports() {
        WRITES.into_iter().for_each(|form| ends_the_guest(port, form, true, None));
    }
}

#[test]
fn writing_the_tenders_port_in_other_sizes_ends_the_guest() {
    if no_kvm() {
        return;
    }
    for form in WRITES.into_iter().filter(|(_, _, width)| *width != 4) {
        ends_the_guest(HYPERCALL_PORT.into(), form, true, None);
    }
}

#[test]
fn repeated_accesses_to_a_port_end_the_guest() {
    if no_kvm() {
        return;
    }
    for port in [0, 0x11, 0x3f8, 0xffff] {
        READS[3..].iter().for_each(|form| ends_the_guest(port, *form, false, Some(9)));
        WRITES[3..].iter().for_each(|form| ends_the_guest(port, *form, true, Some(9)));
    }
}

#[test]
fn repeated_writes_of_single_bytes_to_the_tenders_port_are_no_call() {
    if no_kvm() {
        return;
    }
    for (form, count) in [(WRITES[3], 4), (WRITES[4], 2)] {
        ends_the_guest(HYPERCALL_PORT.into(), form, true, Some(count));
    }
}
