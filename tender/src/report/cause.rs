//! What happened, in one sentence, and the exit status for it.

use super::encoding::Instruction;
use super::instruction;
use super::place::{Place, is_canonical, locate};
use super::text::{escape_name, spaced_hex};
use super::{Cause, Fault, Scene};
use crate::registers::Registers;
use crate::text::escape_lines;
use coracle_hypercall::exit;
use coracle_hypercall::memory::Rights;
use x86_64::structures::idt::{ExceptionVector, PageFaultErrorCode};

/// The number of the page fault.
pub(super) const PAGE_FAULT: u8 = ExceptionVector::Page as u8;

/// How far from the stack pointer an access is still one to the top of the stack.
const STACK_TOP: u64 = 64 << 10;

/// What a system call gets to hear.
const NO_LINUX: &str = "a Coracle guest has no Linux underneath";

/// What happened.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) headline: String,
    pub(super) status: u8,
    /// A panic's message.
    pub(super) message: Option<String>,
    pub(super) start: Start,
}

/// Where a backtrace starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) registers: Registers,
    /// Whether RIP is after the instruction in question, as it is after a breakpoint.
    pub(super) after: bool,
}

impl Finding {
    fn crash(status: u8, words: impl std::fmt::Display, registers: Registers) -> Finding {
        let start = Start { registers, after: false };
        Finding { headline: format!("guest crashed: {words}"), status, message: None, start }
    }
}

/// Finds the words for a cause.
pub(super) fn explain(cause: &Cause<'_>, scene: &Scene<'_>) -> Finding {
    match cause {
        Cause::Fault(fault) => explain_fault(fault, scene),
        Cause::Port { port, width, write, registers } => {
            let what = if *write { "write to" } else { "read from" };
            let plural = if *width == 1 { "" } else { "s" };
            let words =
                format!("{what} I/O port {port:#x} ({width} byte{plural}), which is not for guests to use");
            Finding::crash(exit::ILLEGAL_INSTRUCTION, words, *registers)
        }
        Cause::Panic { message, file, line, column, registers } => {
            let headline = if file.is_empty() {
                "guest panicked:".to_owned()
            } else {
                format!("guest panicked at {}:{line}:{column}:", escape_name(file))
            };
            let start = Start { registers: *registers, after: false };
            Finding { headline, status: exit::PANIC, message: Some(escape_lines(message)), start }
        }
    }
}

fn explain_fault(fault: &Fault, scene: &Scene<'_>) -> Finding {
    let registers = fault.registers;
    if let Some(finding) = system_call(fault, scene) {
        return finding;
    }
    let crash = |status, words: &str| Finding::crash(status, words, registers);
    match fault.vector {
        0 => crash(exit::ARITHMETIC, "division by zero, or a quotient that does not fit"),
        1 => crash(exit::TRAP, "single step, or a breakpoint of the CPU's debug registers"),
        3 => after(crash(exit::TRAP, "breakpoint (int3)")),
        4 => after(crash(exit::BAD_ACCESS, "overflow (into)")),
        5 => crash(exit::BAD_ACCESS, "index out of bounds (bound)"),
        6 => undefined_instruction(&registers, scene),
        7 => crash(exit::ILLEGAL_INSTRUCTION, "x87 or SIMD instruction, but the unit is switched off"),
        10 | 11 => crash(exit::BAD_ACCESS, &selector("a bad segment", fault.error_code)),
        12 => stack_fault(&registers),
        13 => general_protection(fault, scene),
        PAGE_FAULT => page_fault(fault, scene),
        16 => crash(exit::ARITHMETIC, "unmasked floating-point exception (x87)"),
        17 => crash(exit::BAD_ACCESS, "access to an address that is not aligned (alignment check)"),
        18 => crash(exit::TENDER, "the machine reports a hardware error (machine check)"),
        19 => crash(exit::ARITHMETIC, "unmasked floating-point exception (SIMD)"),
        21 => crash(exit::BAD_ACCESS, "control protection: a return or jump to where none may lead"),
        8 => {
            crash(exit::TENDER, "double fault: the tender's fault handler failed, which is a bug in Coracle")
        }
        vector => crash(exit::TENDER, &format!("unexpected exception {vector}, which is a bug in Coracle")),
    }
}

fn after(finding: Finding) -> Finding {
    Finding { start: Start { after: true, ..finding.start }, ..finding }
}

fn selector(what: &str, error_code: u64) -> String {
    format!("{what} (selector {:#x})", error_code & 0xfff8)
}

/// A system call faults in one of several ways. Where the CPU takes it at CPL 3, it goes to address
/// 0 with the return address in RCX; the backtrace then starts at the instruction.
fn system_call(fault: &Fault, scene: &Scene<'_>) -> Option<Finding> {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    let mut registers = fault.registers;
    let name = if fault.vector == PAGE_FAULT {
        let fetch = PageFaultErrorCode::from_bits_retain(fault.error_code)
            .contains(PageFaultErrorCode::INSTRUCTION_FETCH);
        let at = registers.rcx.checked_sub(SYSCALL.len() as u64)?;
        let mut code = [0; 2];
        if !fetch || fault.address != 0 || registers.rip != 0 {
            return None;
        }
        if !scene.memory.read(at, &mut code) || code != SYSCALL {
            return None;
        }
        registers.rip = at;
        "syscall"
    } else if matches!(fault.vector, 6 | 13) {
        Instruction::decode(&instruction::fetch(scene.memory, registers.rip))?.system_call()?
    } else {
        return None;
    };
    // Most of these are Linux's, whose number is in RAX.
    let words = format!("system call {} ({name}): {NO_LINUX}", registers.rax);
    Some(Finding::crash(exit::ILLEGAL_INSTRUCTION, words, registers))
}

fn undefined_instruction(registers: &Registers, scene: &Scene<'_>) -> Finding {
    let bytes = instruction::fetch(scene.memory, registers.rip);
    let decoded = Instruction::decode(&bytes);
    let words = if decoded.is_some_and(|instruction| instruction.is_ud2()) {
        "the program stopped itself (ud2, which is how abort and unreachable code end)".to_owned()
    } else if let Some(name) = decoded.and_then(|instruction| instruction.forbidden()) {
        format!("{name}, an instruction that a guest may not execute")
    } else {
        format!("illegal instruction: {}", spaced_hex(&bytes))
    };
    Finding::crash(exit::ILLEGAL_INSTRUCTION, words, *registers)
}

fn stack_fault(registers: &Registers) -> Finding {
    let words = if is_canonical(registers.rsp) {
        format!("access to the stack at an address that does not exist (stack pointer {:#x})", registers.rsp)
    } else {
        format!("the stack pointer is {:#x}, which is not an address that exists", registers.rsp)
    };
    Finding::crash(exit::BAD_ACCESS, words, *registers)
}

/// One exception for many reasons: the instruction tells which.
fn general_protection(fault: &Fault, scene: &Scene<'_>) -> Finding {
    let registers = &fault.registers;
    let bad = |words: String| Finding::crash(exit::BAD_ACCESS, words, *registers);
    if !is_canonical(registers.rip) {
        return bad(format!("jump to {:#x}, which is not an address that exists", registers.rip));
    }
    let bytes = instruction::fetch(scene.memory, registers.rip);
    let decoded = Instruction::decode(&bytes);
    if let Some(name) = decoded.and_then(|instruction| instruction.forbidden()) {
        let words = format!("{name}, an instruction that a guest may not execute");
        return Finding::crash(exit::ILLEGAL_INSTRUCTION, words, *registers);
    }
    if let Some(target) = decoded.and_then(|instruction| instruction.target(registers, scene.memory))
        && !is_canonical(target)
    {
        return bad(format!("jump to {target:#x}, which is not an address that exists"));
    }
    let accesses = decoded.map(|instruction| instruction.accesses(registers)).unwrap_or_default();
    if let Some(address) = accesses.iter().find(|&&address| !is_canonical(address)) {
        return bad(format!("access to {address:#x}, which is not an address that exists"));
    }
    if fault.error_code != 0 {
        return bad(selector("use of a bad segment", fault.error_code));
    }
    if let Some(address) = accesses.iter().find(|&&address| !address.is_multiple_of(16)) {
        return bad(format!("access to {address:#x}, which is not aligned as the instruction needs it"));
    }
    bad(format!("general protection fault at the instruction {}", spaced_hex(&bytes)))
}

fn page_fault(fault: &Fault, scene: &Scene<'_>) -> Finding {
    let (address, registers) = (fault.address, &fault.registers);
    let code = PageFaultErrorCode::from_bits_retain(fault.error_code);
    let (access, needed) = if code.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
        ("jump to", Rights::EXECUTE)
    } else if code.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
        ("write to", Rights::WRITE)
    } else {
        ("read from", Rights::READ)
    };
    let place = locate(address, scene);
    let rights = scene.memory.rights(address);
    let reason = match rights {
        _ if code.contains(PageFaultErrorCode::MALFORMED_TABLE) => {
            "whose page-table entry is malformed, which is a bug in Coracle".to_owned()
        }
        Some(rights) if rights.contains(needed) => {
            format!(
                "which it may do ({}): a bug in Coracle, or in the machine's KVM",
                place.words(Some(rights))
            )
        }
        Some(rights) => format!("which is {} ({})", denial(rights, needed), place.words(Some(rights))),
        None => unmapped(place, code),
    };
    let overflow = !code.contains(PageFaultErrorCode::INSTRUCTION_FETCH)
        && rights.is_none()
        && is_overflow(place, address, registers.rsp);
    let prefix = if overflow { "stack overflow: " } else { "" };
    Finding::crash(exit::BAD_ACCESS, format!("{prefix}{access} {address:#x}, {reason}"), *registers)
}

fn denial(rights: Rights, needed: Rights) -> &'static str {
    if needed == Rights::EXECUTE {
        "not executable"
    } else if needed == Rights::WRITE && rights.contains(Rights::READ) {
        "read-only"
    } else {
        "not accessible"
    }
}

fn unmapped(place: Place, code: PageFaultErrorCode) -> String {
    match place {
        Place::System => "which belongs to the tender and not to the guest".to_owned(),
        Place::Stack | Place::Heap => {
            format!("which the guest itself made inaccessible ({})", place.words(None))
        }
        Place::Null(_) => place.words(None),
        _ if code.contains(PageFaultErrorCode::PROTECTION_VIOLATION) => {
            format!("which is not the guest's to touch ({})", place.words(None))
        }
        _ => format!("which is not mapped: {}", place.words(None)),
    }
}

/// Whether an access that found nothing mapped is a stack that ran into what is below it: the space
/// under the first stack, or a guard that the program made under one of its own.
fn is_overflow(place: Place, address: u64, rsp: u64) -> bool {
    match place {
        Place::BelowStack(_) => true,
        Place::Stack | Place::Heap => address.abs_diff(rsp) < STACK_TOP,
        _ => false,
    }
}
