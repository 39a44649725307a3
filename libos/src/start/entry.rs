//! `_start` for a custom target, which has no `crt1.o`.

use core::arch::naked_asm;

/// The image's entry: `rsp` points to the argument block.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "xor ebp, ebp",          // the outermost frame: backtraces end here
        "mov rsi, [rsp]",        // argc
        "lea rdx, [rsp + 8]",    // argv
        "lea rdi, [rip + main]", // what the program's attribute macro made
        "call {start}",
        "ud2",
        start = sym super::relocate::__libc_start_main,
    )
}
