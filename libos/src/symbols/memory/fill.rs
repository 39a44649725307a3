//! `memset`.

use core::arch::naked_asm;

/// From how many bytes on the string instruction fills faster than a loop.
const STRING_FILL: usize = 1024;

/// Sets `rdx` bytes at `rdi` to `sil`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, rdi",
        "movzx ecx, sil",
        "mov r8, 0x0101010101010101",
        "imul rcx, r8",
        "cmp rdx, 16",
        "jb 20f",
        "movq xmm0, rcx",
        "punpcklqdq xmm0, xmm0",
        "cmp rdx, 64",
        "ja 40f",
        // 16 to 64: 16 or 32 bytes from either end.
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm0",
        "cmp rdx, 32",
        "jbe 21f",
        "movups [rdi + 16], xmm0",
        "movups [rdi + rdx - 32], xmm0",
        "21:",
        "ret",
        // 0 to 15.
        "20:",
        "cmp edx, 8",
        "jae 23f",
        "cmp edx, 4",
        "jae 22f",
        "test edx, edx",
        "jz 21b",
        "mov [rdi], cl",
        "mov [rdi + rdx - 1], cl",
        "cmp edx, 2",
        "jbe 21b",
        "mov [rdi + 1], cl",
        "ret",
        "22:",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], ecx",
        "ret",
        "23:",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], rcx",
        "ret",
        // Above 64.
        "40:",
        "cmp rdx, {string}",
        "jae 50f",
        "movups [rdi], xmm0",
        "lea r8, [rdi + rdx - 64]", // where the last 64 bytes begin
        "add rdi, 16",
        "and rdi, -16",
        "41:",
        "cmp rdi, r8",
        "jae 42f",
        "movaps [rdi], xmm0",
        "movaps [rdi + 16], xmm0",
        "movaps [rdi + 32], xmm0",
        "movaps [rdi + 48], xmm0",
        "add rdi, 64",
        "jmp 41b",
        "42:",
        "movups [r8], xmm0",
        "movups [r8 + 16], xmm0",
        "movups [r8 + 32], xmm0",
        "movups [r8 + 48], xmm0",
        "ret",
        "50:",
        "mov r9, rax",
        "mov eax, esi",
        "mov rcx, rdx",
        "rep stosb",
        "mov rax, r9",
        "ret",
        ".cfi_endproc",
        string = const STRING_FILL,
    )
}
