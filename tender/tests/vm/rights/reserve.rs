//! Memory that a process has not begun to use.

use super::code::{bytes, code, hexadecimal};
use super::machine::{GENERAL_PROTECTION, INVALID_OPCODE, booted_on, run_to_end};
use crate::not_run::not_run;
use crate::support::process_host;
use coracle_tender::instance::End;
use coracle_tender::layout::Placement;
use std::fs;

/// Whether files in memory can be given huge pages where they have small ones (Linux 6.1).
fn has_huge_pages() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    version >= (6, 1) && setting.is_ok_and(|setting| !setting.contains("[deny]"))
}

#[test]
fn a_process_is_given_huge_pages_where_it_reaches_for_memory_and_small_ones_hold_what_they_held() {
    // Eight MiB of the heap, from its sixth on, each page of them and then in the middle of nowhere.
    let reach = code!(
        "mov rax, rdi",
        "add rax, 0x600000",
        "mov ecx, 2048",
        "2: mov [rax], ecx",
        "add rax, 4096",
        "dec ecx",
        "jnz 2b",
        "mov rbx, [rdi + 0x2000000]",
        "mov [rdi + 0x1800000], rax",
        "mov r15, [rdi + 0x600000]",
        "mov r14, [rax - 4096]",
    );
    let arguments = [hexadecimal(&bytes(reach))];
    booted_on(&process_host(), "run_code", &[&arguments[0]], Placement::Random, |instance| {
        let End::Faulted(fault) = run_to_end(instance) else { panic!("it ends otherwise") };
        let registers = fault.registers;
        assert_eq!(fault.vector, INVALID_OPCODE, "{fault:x?}");
        assert_eq!((registers.rbx, registers.r15 as u32, registers.r14 as u32), (0, 2048, 1));
        let mut word = [0; 4];
        assert!(instance.guest().try_read(registers.rdi + 0x60_0000 + 100 * 4096, &mut word));
        assert_eq!(u32::from_le_bytes(word), 2048 - 100);
        if !has_huge_pages() {
            not_run("this kernel gives a file in memory no huge pages (Linux 6.1)");
            return;
        }
        // SAFETY: the call has no preconditions.
        let thread = unsafe { libc::gettid() };
        let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).expect("children");
        let child: u32 = children.trim().parse().expect("one child");
        let maps = fs::read_to_string(format!("/proc/{child}/smaps")).expect("it can be read");
        let huge = |line: &str| {
            let mut words = line.split_whitespace();
            let counts = ["ShmemPmdMapped:", "FilePmdMapped:"].contains(&words.next()?);
            counts.then(|| words.next()?.parse::<u64>().ok()).flatten()
        };
        assert!(maps.lines().filter_map(huge).sum::<u64>() >= 8 << 10, "{maps}");
    });
}

#[test]
fn what_a_process_must_not_do_with_memory_it_has_not_used_ends_it() {
    for code in [
        code!("add rdi, 0x1000000", "jmp rdi"),
        code!("mov rax, rdi", "mov rcx, 0x10000000000", "add rax, rcx", "mov byte ptr [rax], 1"),
    ] {
        booted_on(
            &process_host(),
            "run_code",
            &[&hexadecimal(&bytes(code))],
            Placement::Random,
            |instance| {
                let End::Faulted(fault) = run_to_end(instance) else { panic!("it ends otherwise") };
                assert!(
                    [super::machine::PAGE_FAULT, GENERAL_PROTECTION].contains(&fault.vector),
                    "{fault:x?}"
                );
            },
        );
    }
}
