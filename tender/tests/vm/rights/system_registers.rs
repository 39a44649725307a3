//! The instructions that show system registers at CPL 3: they fault (UMIP), or show what the tender
//! chose.

use super::code::{Code, code, run};
use super::machine::{GENERAL_PROTECTION, INVALID_OPCODE, Ran};
use crate::support::{is_process, no_kvm};
use coracle_tender::cpu::descriptors::{GDT_LIMIT, IDT_LIMIT, IDT_OFFSET, TASK};
use coracle_tender::layout::TABLES;

/// What Linux shows programs in place of its own registers (arch/x86/kernel/umip.c): the bases of GDT and IDT,
/// limits of 0, CR0.
const SHOWN_BY_LINUX: [u64; 4] = [0xffff_ffff_fffe_0000, 0xffff_ffff_ffff_0000, 0, 0x8005_0033];

/// Runs code that leaves what an instruction shows in rax, and compares it unless that faulted.
#[track_caller]
fn faults_or_shows(name: &str, code: Code, expected: impl Fn(&Ran) -> Vec<u64>) {
    if no_kvm() {
        return;
    }
    let ran = run(code);
    let fault = ran.fault();
    if fault.vector == GENERAL_PROTECTION && fault.error_code == 0 {
        return;
    }
    assert_eq!(fault.vector, INVALID_OPCODE, "{name}: {fault:x?}");
    let (shown, mut expected) = (fault.registers.rax, expected(&ran));
    if is_process() {
        expected.extend(SHOWN_BY_LINUX);
    }
    assert!(expected.contains(&shown), "{name} shows {shown:#x} and not one of {expected:x?}");
}

#[test]
fn the_base_of_the_gdt_is_the_tenders() {
    let base = |ran: &Ran| vec![ran.places.system.start + TABLES];
    faults_or_shows("sgdt", code!("sgdt [rdi]", "mov rax, [rdi + 2]"), base);
}

#[test]
fn the_limit_of_the_gdt_is_the_tenders() {
    let code = code!("sgdt [rdi]", "movzx eax, word ptr [rdi]");
    faults_or_shows("sgdt", code, |_| vec![GDT_LIMIT.into()]);
}

#[test]
fn the_base_of_the_idt_is_the_tenders() {
    let base = |ran: &Ran| vec![ran.places.system.start + TABLES + IDT_OFFSET];
    faults_or_shows("sidt", code!("sidt [rdi]", "mov rax, [rdi + 2]"), base);
}

#[test]
fn the_limit_of_the_idt_is_the_tenders() {
    let code = code!("sidt [rdi]", "movzx eax, word ptr [rdi]");
    faults_or_shows("sidt", code, |_| vec![IDT_LIMIT.into()]);
}

#[test]
fn there_is_no_local_descriptor_table() {
    faults_or_shows("sldt", code!("mov eax, 0xffff", "sldt eax"), |_| vec![0]);
}

#[test]
fn the_task_register_is_the_tenders() {
    faults_or_shows("str", code!("mov eax, 0xffff", "str eax"), |_| vec![TASK.into()]);
}

#[test]
fn the_machine_status_word_is_that_of_the_tenders_cr0() {
    // PE, MP, ET, NE, WP, PG.
    faults_or_shows("smsw", code!("xor eax, eax", "smsw rax"), |_| vec![0x8001_0033]);
}
