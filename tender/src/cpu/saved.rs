//! The state of a vCPU as far as a program at CPL 3 can change it: what a snapshot keeps.
//!
//! Everything else is what [`state`] says, so that no snapshot can bring a CPL, a table or a
//! control register of its own along.

use super::cpuid::Features;
use super::descriptors::USER_DATA;
use super::state;
use crate::registers::Registers;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use x86_64::registers::rflags::RFlags;

/// A vCPU that waits at CPL 3. Its extended state (x87, vector registers) is in the [boot
/// page](crate::layout::EXTENDED_OFFSET), from where the guest loads it when it goes on.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The general registers; rax and rdx are 0. The instruction pointer is also the boot page's
    /// [target](crate::layout::TARGET_OFFSET).
    pub registers: Registers,
    /// The data segment registers.
    pub segments: Segments,
}

/// What a program can change of its segment registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segments {
    /// The selectors of DS, ES, FS and GS: null ones or that of CPL-3 data.
    pub selectors: [u16; 4],
    /// The base of FS.
    pub fs_base: u64,
    /// The base of GS.
    pub gs_base: u64,
}

impl Segments {
    /// What `system` holds of it; `None` when a selector is not one that is kept.
    #[must_use]
    pub fn of(system: &kvm_sregs) -> Option<Segments> {
        let segments = Segments {
            selectors: [&system.ds, &system.es, &system.fs, &system.gs].map(|segment| segment.selector),
            fs_base: system.fs.base,
            gs_base: system.gs.base,
        };
        segments.is_sound().then_some(segments)
    }

    /// Whether a vCPU may be given them.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let lower_half = |address: u64| address < 1 << 47;
        self.selectors.iter().all(|selector| is_null(*selector) || *selector == USER_DATA)
            && lower_half(self.fs_base)
            && lower_half(self.gs_base)
    }
}

/// Null selectors differ in the requested privilege level only.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// The system registers for tables at `root`, a system place at `system`, and these segments.
#[must_use]
pub fn system_registers(root: u64, system: u64, features: &Features, segments: &Segments) -> kvm_sregs {
    let mut registers = state::system_registers(root, system, features);
    let [ds, es, fs, gs] = segments.selectors.map(segment);
    (registers.ds, registers.es) = (ds, es);
    registers.fs = kvm_segment { base: segments.fs_base, ..fs };
    registers.gs = kvm_segment { base: segments.gs_base, ..gs };
    registers
}

fn segment(selector: u16) -> kvm_segment {
    if is_null(selector) {
        kvm_segment { selector, ..state::NULL }
    } else {
        state::user_segment(selector, 3, false)
    }
}

/// The general registers as KVM takes them. Of the flags a program has only some to itself.
#[must_use]
pub fn general_registers(registers: &Registers) -> kvm_regs {
    let own = RFlags::CARRY_FLAG
        | RFlags::PARITY_FLAG
        | RFlags::AUXILIARY_CARRY_FLAG
        | RFlags::ZERO_FLAG
        | RFlags::SIGN_FLAG
        | RFlags::DIRECTION_FLAG
        | RFlags::OVERFLOW_FLAG
        | RFlags::ALIGNMENT_CHECK
        | RFlags::ID;
    kvm_regs {
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
        rflags: registers.rflags & own.bits() | state::general_registers(0, 0).rflags,
    }
}

#[cfg(test)]
mod tests {
    use super::{Segments, general_registers};
    use crate::registers::Registers;

    #[test]
    fn segments_of_another_privilege_level_or_table_are_not_kept() {
        let sound = Segments { selectors: [0, 3, 0x2b, 0], fs_base: 0x7000, gs_base: 0 };
        assert!(sound.is_sound());
        assert!(!Segments { selectors: [0x18, 0, 0, 0], ..sound }.is_sound());
        assert!(!Segments { selectors: [0x2f, 0, 0, 0], ..sound }.is_sound());
        assert!(!Segments { fs_base: 1 << 47, ..sound }.is_sound());
    }

    #[test]
    fn flags_that_are_not_a_programs_own_are_those_of_the_start() {
        let registers = Registers { rflags: u64::MAX, ..Registers::default() };
        let flags = general_registers(&registers).rflags;
        assert_eq!(flags & (1 << 8 | 1 << 14 | 1 << 16 | 1 << 17), 0, "TF, NT, RF, VM: {flags:#x}");
        assert_eq!(flags & 0x3202, 0x3202);
    }
}
