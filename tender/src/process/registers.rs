//! The registers of a child, as ptrace(2) has them, and those of a vCPU.

use crate::cpu::descriptors::{USER_CODE, USER_DATA};
use crate::cpu::saved::{Segments, general_registers, is_null};
use crate::registers::Registers;
use std::mem::offset_of;
use x86_64::registers::rflags::RFlags;

/// The registers of a stopped child.
pub(super) type UserRegisters = libc::user_regs_struct;

/// The bytes of them before the bases and selectors of the data segments.
pub(super) const BEFORE_SEGMENTS: usize = offset_of!(UserRegisters, fs_base);

/// All of them zero.
pub(super) fn zero() -> UserRegisters {
    // SAFETY: all fields are numbers, of which zero is one.
    unsafe { std::mem::zeroed() }
}

/// Registers with the segments and flags of a program.
pub(super) fn user_segments(registers: UserRegisters) -> UserRegisters {
    const CODE: u64 = USER_CODE as u64;
    const DATA: u64 = USER_DATA as u64;
    UserRegisters { cs: CODE, ss: DATA, eflags: 0x202, orig_rax: u64::MAX, ..registers }
}

/// A child's registers as a vCPU's.
pub(super) fn to_guest(from: &UserRegisters) -> Registers {
    Registers {
        rax: from.rax,
        rbx: from.rbx,
        rcx: from.rcx,
        rdx: from.rdx,
        rsi: from.rsi,
        rdi: from.rdi,
        rsp: from.rsp,
        rbp: from.rbp,
        r8: from.r8,
        r9: from.r9,
        r10: from.r10,
        r11: from.r11,
        r12: from.r12,
        r13: from.r13,
        r14: from.r14,
        r15: from.r15,
        rip: from.rip,
        rflags: from.eflags,
    }
}

/// The data segments of a child.
pub(super) fn segments(from: &UserRegisters) -> Segments {
    Segments {
        selectors: [from.ds, from.es, from.fs, from.gs].map(|selector| selector as u16),
        fs_base: from.fs_base,
        gs_base: from.gs_base,
    }
}

/// Registers as ptrace(2) takes them. The flags for I/O, which no process has, are left out; so are the privilege
/// levels of null selectors, as each return from the kernel takes them away too (Intel SDM volume 2, `iret`).
pub(super) fn from_guest(registers: &Registers, segments: &Segments) -> UserRegisters {
    const IO_PRIVILEGE: u64 = 3 << 12;
    let flags = general_registers(registers).rflags & !(IO_PRIVILEGE | RFlags::ID.bits());
    let selector = |selector| if is_null(selector) { 0 } else { selector.into() };
    let [ds, es, fs, gs] = segments.selectors.map(selector);
    UserRegisters {
        rax: registers.rax,
        rbx: registers.rbx,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rsi: registers.rsi,
        rdi: registers.rdi,
        rsp: registers.rsp,
        rbp: registers.rbp,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        rip: registers.rip,
        eflags: flags,
        fs_base: segments.fs_base,
        gs_base: segments.gs_base,
        ds,
        es,
        fs,
        gs,
        ..user_segments(zero())
    }
}
