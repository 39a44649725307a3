//! Turns interrupts off, by `cli` or (with an argument) by `popf`, and loops for ever.
#![no_std]
#![no_main]

use coracle::env;
use core::arch::asm;

#[coracle::main]
fn main() {
    // SAFETY: the loop touches nothing.
    unsafe {
        if env::args().len() == 1 {
            asm!("cli", "2: jmp 2b", options(noreturn));
        } else {
            asm!("pushfq", "and qword ptr [rsp], {mask}", "popfq", "2: jmp 2b",
                 mask = const !0x200_i32, options(noreturn));
        }
    }
}
