//! Takes a page's rights away and then shows its registers as the call left them.
#![no_std]
#![no_main]

use coracle::hypercall::call::Call;
use core::arch::asm;
use guests::boot::info;

#[coracle::main]
fn main() {
    let info = info();
    let last_page = info.heap.address.0 + info.heap.length - 4096;
    // SAFETY: nobody uses the heap's last page, and the last instruction ends the guest.
    unsafe {
        asm!(
            "call rax",
            "ud2",
            in("rax") info.entry.0,
            in("rdi") Call::MemoryRights as u64,
            in("rsi") last_page,
            in("rdx") 4096,
            in("rcx") 0,
            options(noreturn),
        );
    }
}
