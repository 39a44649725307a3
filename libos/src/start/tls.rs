//! Thread-local storage of the first thread.
//!
//! x86-64 uses variant II of the ELF TLS specification: FS points to the thread control block, and
//! thread-local variables lie below it, at negative offsets that the linker fixed.
//!
//! ```text
//!   start ─▶ template (.tdata) | zeros (.tbss) | padding ─▶ FS: thread control block
//! ```

use coracle_hypercall::boot::BootInfo;
use core::cell::UnsafeCell;

/// What compilers expect at FS: at 0 its own address, at 0x28 the stack protector's canary.
#[repr(C)]
struct ControlBlock {
    itself: usize,
    reserved: [usize; 4],
    canary: u64,
    spare: [usize; 2],
}

const _: () = assert!(core::mem::offset_of!(ControlBlock, canary) == 0x28);

/// Room for small needs, so that a program without heap does not touch the heap.
#[repr(align(64))]
struct Room(UnsafeCell<[u8; ROOM]>);
const ROOM: usize = 256;

// SAFETY: only `install` uses it, once, before there can be threads.
unsafe impl Sync for Room {}

static FIRST: Room = Room(UnsafeCell::new([0; ROOM]));

/// Makes the first thread's block and points FS at it.
///
/// # Safety
/// Called once, before anything uses thread-local storage or the heap, and `info` describes the
/// running image.
pub(super) unsafe fn install(info: &BootInfo) {
    let align = (info.tls_align as usize).max(align_of::<ControlBlock>());
    let size = info.tls_size as usize;
    // Offsets from FS are fixed as if FS were the template's link address plus size, rounded up.
    let padding = (info.tls_image.address.0 as usize).wrapping_add(size).wrapping_neg() & (align - 1);
    let below = size + padding;
    let block = size_of::<ControlBlock>();
    let room: *mut u8 = if align <= align_of::<Room>() && below.next_multiple_of(align) + block <= ROOM {
        FIRST.0.get().cast()
    } else {
        crate::heap::take(below + align + block)
    };
    let fs = room.map_addr(|room| (room + below).next_multiple_of(align));
    // SAFETY: the room is zero, nobody else's, and holds all that is written; the template is as long
    // as the contract says. Nothing used FS before.
    unsafe {
        let template = core::ptr::with_exposed_provenance::<u8>(info.tls_image.address.0 as usize);
        fs.sub(below).copy_from_nonoverlapping(template, info.tls_image.length as usize);
        fs.cast::<ControlBlock>().write(ControlBlock {
            itself: fs.expose_provenance(),
            reserved: [0; 4],
            canary: canary(&info.seed),
            spare: [0; 2],
        });
        core::arch::asm!("wrfsbase {}", in(reg) fs, options(nostack, preserves_flags));
    }
}

/// Random, but with a zero byte first in memory, which stops a string copy from forging it.
fn canary(seed: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes[1..].copy_from_slice(&seed[1..8]);
    u64::from_le_bytes(bytes)
}

/// Gives the running thread another canary.
///
/// # Safety
/// No function whose frame has the old one returns any more.
pub(crate) unsafe fn set_canary(seed: &[u8; 32]) {
    let canary = canary(seed);
    // SAFETY: FS points to this thread's control block, where the canary is at 0x28.
    unsafe { core::arch::asm!("mov fs:[0x28], {}", in(reg) canary, options(nostack, preserves_flags)) };
}

/// A number that tells the running thread from all others.
pub(crate) fn thread() -> usize {
    let itself: usize;
    // SAFETY: FS points to this thread's control block, whose first word is its address.
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) itself, options(nostack, preserves_flags, pure, readonly))
    };
    itself
}
