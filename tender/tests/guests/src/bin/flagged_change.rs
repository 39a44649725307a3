//! Changes the rights of a page, and back again, with the flags set that its argument gives in
//! hexadecimal.
#![no_std]
#![no_main]

extern crate alloc;

use coracle::hypercall::call::Call;
use coracle::memory::{PAGE, Rights};
use coracle::{ExitCode, env};
use core::alloc::Layout;
use core::arch::asm;
use guests::boot::info;

/// The flag that C code relies on.
const DIRECTION: u64 = 1 << 10;

#[coracle::main]
fn main() -> ExitCode {
    let flags = env::args().nth(1).and_then(|flags| u64::from_str_radix(&flags, 16).ok());
    let Some(flags) = flags else { return ExitCode::from(2) };
    let layout = Layout::from_size_align(PAGE as usize, PAGE as usize).unwrap();
    // SAFETY: the page is nobody else's; the flags are as they were when Rust code goes on.
    unsafe {
        let page = alloc::alloc::alloc(layout);
        page.write_volatile(42);
        assert_eq!(change(page, Rights::READ, flags), PAGE as i64);
        assert_eq!(page.read_volatile(), 42);
        assert_eq!(change(page, Rights::READ | Rights::WRITE, flags), PAGE as i64);
        page.write_volatile(43);
    }
    ExitCode::SUCCESS
}

/// Makes the call with more flags set; the one that C code relies on must still be as it was after it.
unsafe fn change(page: *mut u8, rights: Rights, flags: u64) -> i64 {
    let result: i64;
    let after: u64;
    // SAFETY: the caller's promise; the flags are restored before anything else runs.
    unsafe {
        asm!(
            "pushfq", "pop r12", "mov rax, r12", "or rax, r13", "push rax", "popfq",
            "call r14",
            "pushfq", "pop r13", "push r12", "popfq",
            out("r12") _, inout("r13") flags => after, in("r14") info().entry.0,
            inout("rdi") Call::MemoryRights as u64 => _, inout("rsi") page => _, inout("rdx") PAGE => _,
            inout("rcx") rights.bits() => _, out("r8") _, lateout("rax") result,
            out("r9") _, out("r10") _, out("r11") _,
        );
    }
    assert_eq!(after & DIRECTION, flags & DIRECTION);
    result
}
