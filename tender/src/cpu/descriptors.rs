//! GDT, IDT and TSS (Intel SDM volume 3, sections 3.4.5, 7.14 and 8.7; AMD APM volume 2, chapters 4, 8
//! and 12). All three share one page, which nobody writes once the guest runs: the accessed and
//! busy bits are set from the start.
//!
//! The selectors are those of Linux on x86-64, and so are the empty entries. Instructions that show
//! selectors do not fault at CPL 3, and where KVM or another backend runs the guest under the host's own
//! GDT they would show the host's: so the guest finds the same everywhere.

use super::{HYPERCALL_PORT, stub};
use crate::layout::{FAULT_STACK_TOP, STUB, TABLES};
use crate::memory::{Memory, OutOfMemory};
use coracle_hypercall::memory::PAGE;
use x86_64::structures::gdt::DescriptorFlags;

/// The selector of CPL-0 code.
pub const SYSTEM_CODE: u16 = 0x10;
/// The selector of CPL-0 data, used as stack segment only.
pub const SYSTEM_DATA: u16 = 0x18;
/// The selector of CPL-3 data, used as stack segment only: the other segment registers are null.
pub const USER_DATA: u16 = 0x28 | 3;
/// The selector of CPL-3 code.
pub const USER_CODE: u16 = 0x30 | 3;
/// The selector of the TSS.
pub const TASK: u16 = 0x40;

/// The TSS has the last two.
const GDT_ENTRIES: u64 = 10;
/// The limit of the GDT.
pub const GDT_LIMIT: u16 = (GDT_ENTRIES * 8 - 1) as u16;

/// Where the IDT lies in the page.
pub const IDT_OFFSET: u64 = 0x100;
/// The limit of the IDT: `int` with a further vector is a general-protection fault.
pub const IDT_LIMIT: u16 = (stub::VECTORS as u16) * 16 - 1;

/// Where the TSS lies in the page.
pub const TSS_OFFSET: u64 = 0x400;
/// The bytes of the TSS before its I/O permission bitmap.
const TSS_FIXED: u64 = 104;
/// Ports that the bitmap has bits for; those beyond the limit are forbidden.
const BITMAP_PORTS: u64 = 64;
/// The limit of the TSS: the bitmap and the byte of ones that ends it.
pub const TSS_LIMIT: u32 = (TSS_FIXED + BITMAP_PORTS / 8) as u32;

const _: () = {
    assert!(GDT_ENTRIES * 8 <= IDT_OFFSET);
    assert!(IDT_OFFSET + (IDT_LIMIT as u64) < TSS_OFFSET);
    assert!(TSS_OFFSET + (TSS_LIMIT as u64) < PAGE);
    assert!((HYPERCALL_PORT as u64) < BITMAP_PORTS);
};

/// Writes the tables for a system place at `system`.
///
/// # Errors
/// When guest memory is too small for them.
pub fn write(memory: &Memory, system: u64) -> Result<(), OutOfMemory> {
    let tss = system + TABLES + TSS_OFFSET;
    for (index, descriptor) in gdt(tss).into_iter().enumerate() {
        memory.write_u64(TABLES + index as u64 * 8, descriptor)?;
    }
    for vector in 0..stub::VECTORS {
        let [low, high] = gate(system + STUB + stub::entry_offset(vector), vector == stub::BREAKPOINT);
        let at = TABLES + IDT_OFFSET + u64::from(vector) * 16;
        memory.write_u64(at, low)?;
        memory.write_u64(at + 8, high)?;
    }
    write_tss(memory, system)
}

fn gdt(tss: u64) -> [u64; GDT_ENTRIES as usize] {
    let limit = u64::from(TSS_LIMIT);
    // A 64-bit TSS, busy (type 11), present, CPL 0; its base is spread over both halves.
    let task = limit | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56;
    [
        0,
        0,
        DescriptorFlags::KERNEL_CODE64.bits(),
        DescriptorFlags::KERNEL_DATA.bits(),
        0,
        DescriptorFlags::USER_DATA.bits(),
        DescriptorFlags::USER_CODE64.bits(),
        0,
        task,
        tss >> 32,
    ]
}

/// An interrupt gate to `handler`. Only the breakpoint's may be used by an instruction at CPL 3.
fn gate(handler: u64, from_user: bool) -> [u64; 2] {
    let attributes: u64 = if from_user { 0xee } else { 0x8e };
    let low =
        (handler & 0xffff) | u64::from(SYSTEM_CODE) << 16 | attributes << 40 | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

fn write_tss(memory: &Memory, system: u64) -> Result<(), OutOfMemory> {
    let base = TABLES + TSS_OFFSET;
    // RSP0 at offset 4; the I/O map base is the upper half of the last 32-bit word.
    memory.write(base + 4, &(system + FAULT_STACK_TOP).to_le_bytes())?;
    memory.write(base + 102, &(TSS_FIXED as u16).to_le_bytes())?;
    let mut bitmap = [0xff; (BITMAP_PORTS / 8 + 1) as usize];
    for width in 0..4 {
        let port = HYPERCALL_PORT + width;
        if let Some(byte) = bitmap.get_mut(usize::from(port / 8)) {
            *byte &= !(1 << (port % 8));
        }
    }
    memory.write(base + TSS_FIXED, &bitmap)
}
