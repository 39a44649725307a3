//! Control registers and segments at the guest's first instruction.
//!
//! ARCHITECTURE.md has the table of each field with the check that VM entry makes of it.

use super::cpuid::Features;
use super::descriptors::{
    GDT_LIMIT, IDT_LIMIT, IDT_OFFSET, TASK, TSS_LIMIT, TSS_OFFSET, USER_CODE, USER_DATA,
};
use crate::layout::TABLES;
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};
use x86_64::registers::rflags::RFlags;

/// The APIC base MSR after reset: enabled, bootstrap processor. There is no APIC behind it.
const APIC_BASE: u64 = 0xfee0_0900;

/// The system registers for page tables at `root` and a system place at `system`.
#[must_use]
pub fn system_registers(root: u64, system: u64, features: &Features) -> kvm_sregs {
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    cr4.set(Cr4Flags::FSGSBASE, features.fsgsbase);
    cr4.set(Cr4Flags::OSXSAVE, features.xcr0 != 0);
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
    kvm_sregs {
        cs: user_segment(USER_CODE, 11, true),
        ss: user_segment(USER_DATA, 3, false),
        ds: NULL,
        es: NULL,
        fs: NULL,
        gs: NULL,
        tr: kvm_segment {
            base: system + TABLES + TSS_OFFSET,
            limit: TSS_LIMIT,
            selector: TASK,
            type_: 11,
            present: 1,
            ..kvm_segment::default()
        },
        ldt: NULL,
        gdt: kvm_dtable { base: system + TABLES, limit: GDT_LIMIT, ..kvm_dtable::default() },
        idt: kvm_dtable { base: system + TABLES + IDT_OFFSET, limit: IDT_LIMIT, ..kvm_dtable::default() },
        cr0: (Cr0Flags::PROTECTED_MODE_ENABLE
            | Cr0Flags::MONITOR_COPROCESSOR
            | Cr0Flags::EXTENSION_TYPE
            | Cr0Flags::NUMERIC_ERROR
            | Cr0Flags::WRITE_PROTECT
            | Cr0Flags::PAGING)
            .bits(),
        cr3: root,
        cr4: cr4.bits(),
        efer: (EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE | EferFlags::NO_EXECUTE_ENABLE)
            .bits(),
        apic_base: APIC_BASE,
        ..kvm_sregs::default()
    }
}

/// A segment register with the null selector. Code of 64 bits uses it all the same.
pub(super) const NULL: kvm_segment = kvm_segment {
    base: 0,
    limit: 0,
    selector: 0,
    type_: 0,
    present: 0,
    dpl: 0,
    db: 0,
    s: 0,
    l: 0,
    g: 0,
    avl: 0,
    unusable: 1,
    padding: 0,
};

/// A flat segment for CPL 3; `type_` as in a descriptor, with the accessed bit.
pub(super) fn user_segment(selector: u16, type_: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 3,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        ..kvm_segment::default()
    }
}

/// The general registers at the first instruction. I/O privilege level 3 lets `out` through on CPUs
/// that would not look at the bitmap of the TSS; with the interrupt flag clear, some emulated CPUs
/// could not be interrupted.
#[must_use]
pub fn general_registers(entry: u64, stack: u64) -> kvm_regs {
    let flags = RFlags::IOPL_LOW | RFlags::IOPL_HIGH | RFlags::INTERRUPT_FLAG;
    kvm_regs { rip: entry, rsp: stack, rflags: flags.bits() | 1 << 1, ..kvm_regs::default() }
}
