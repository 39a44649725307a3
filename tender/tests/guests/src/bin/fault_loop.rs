//! Does again and again what faults, and after each fault, if that were survived, once more.
#![no_std]
#![no_main]

use coracle::{ExitCode, env, println};
use core::arch::asm;

#[coracle::main]
fn main() -> ExitCode {
    println!("ready");
    // SAFETY: each loop ends with its first fault, which ends the program.
    unsafe {
        match env::args().nth(1).as_deref() {
            Some("instruction") => asm!("2: ud2", "jmp 2b", options(noreturn)),
            Some("read") => asm!("2: mov rax, [0x10]", "jmp 2b", options(noreturn)),
            Some("write") => asm!("2: mov [0x10], rax", "jmp 2b", options(noreturn)),
            Some("division") => asm!("xor ecx, ecx", "2: div rcx", "jmp 2b", options(noreturn)),
            Some("breakpoint") => asm!("2: int3", "jmp 2b", options(noreturn)),
            // A fault that could not even be delivered if it used the guest's stack.
            Some("stack") => asm!("xor esp, esp", "2: push rax", "jmp 2b", options(noreturn)),
            _ => ExitCode::FAILURE,
        }
    }
}
