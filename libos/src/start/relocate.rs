//! The way in, and the relocation of a program that Linux started without `ld.so`.
//!
//! The tender relocates what it boots, and `ld.so` what it loads. A static position-independent
//! program that Linux starts (`+crt-static`, or a custom target) has nobody to do so, and must before
//! it can hop. It is done in assembly, for compiled Rust calls functions through addresses that are
//! themselves relocated.

use super::Main;
use coracle_hypercall::boot::AT_CORACLE;
use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

/// What `_start` calls: relocates the program where nobody else has, and goes on in Rust.
///
/// The numbers are those of the System V ABI: in the auxiliary vector `AT_PHDR`, `AT_PHNUM` and
/// `AT_BASE` (0 says that there is no interpreter), of program headers `PT_DYNAMIC`, in the
/// dynamic section `DT_RELA`, `DT_RELASZ`, `DT_RELR` and `DT_RELRSZ`, of relocations
/// `R_X86_64_RELATIVE`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "mov esi, esi",
        "lea rax, [rdx + 8*rsi + 8]", // the environment
        "20:",
        "add rax, 8",
        "cmp qword ptr [rax - 8], 0",
        "jne 20b",
        // The auxiliary vector: program headers to r8, their number to r9, AT_BASE to r10.
        "mov r10d, 1",
        "21:",
        "mov rcx, [rax]",
        "cmp rcx, {at_coracle}",
        "je 29f",
        "cmp rcx, 3",
        "cmove r8, [rax + 8]",
        "cmp rcx, 5",
        "cmove r9, [rax + 8]",
        "cmp rcx, 7",
        "cmove r10, [rax + 8]",
        "add rax, 16",
        "test rcx, rcx",
        "jnz 21b",
        "test r10, r10",
        "jnz 29f",
        // The program headers: the address of PT_DYNAMIC to r11.
        "xor r11d, r11d",
        "mov rcx, r8",
        "22:",
        "cmp dword ptr [rcx], 2",
        "cmove r11, [rcx + 16]",
        "add rcx, 56",
        "dec r9",
        "jnz 22b",
        "test r11, r11",
        "jz 29f",
        // Such a program is linked at address 0 and begins with its headers, so this is its base.
        "and r8, -4096",
        "add r11, r8",
        // The dynamic section: DT_RELA to rax, DT_RELASZ to rcx, DT_RELR to r10, DT_RELRSZ to rdi,
        // which was `main` and waits on the stack.
        "push rdi",
        "xor ecx, ecx",
        "xor edi, edi",
        "23:",
        "mov r9, [r11]",
        "cmp r9, 7",
        "cmove rax, [r11 + 8]",
        "cmp r9, 8",
        "cmove rcx, [r11 + 8]",
        "cmp r9, 36",
        "cmove r10, [r11 + 8]",
        "cmp r9, 35",
        "cmove rdi, [r11 + 8]",
        "add r11, 16",
        "test r9, r9",
        "jnz 23b",
        "push r10",
        // The relocations, 24 bytes each: place, kind, what to put there.
        "add rax, r8",
        "24:",
        "sub rcx, 24",
        "jb 26f",
        "cmp dword ptr [rax + 8], 8",
        "jne 25f",
        "mov r9, [rax]",
        "mov r10, [rax + 16]",
        "add r10, r8",
        "mov [r8 + r9], r10",
        "25:",
        "add rax, 24",
        "jmp 24b",
        // The packed ones, 8 bytes each: an even number is a place, and an odd one has a bit for each
        // of the 63 words that follow the last place or the last such run.
        "26:",
        "pop r10",
        "add r10, r8",
        "27:",
        "sub rdi, 8",
        "jb 28f",
        "mov r9, [r10]",
        "add r10, 8",
        "test r9b, 1",
        "jnz 30f",
        "lea r11, [r8 + r9]",
        "add [r11], r8",
        "add r11, 8",
        "jmp 27b",
        "30:",
        "mov rax, r11",
        "31:",
        "shr r9, 1",
        "jz 33f",
        "test r9b, 1",
        "jz 32f",
        "add [rax], r8",
        "32:",
        "add rax, 8",
        "jmp 31b",
        "33:",
        "add r11, 63*8",
        "jmp 27b",
        "28:",
        "pop rdi",
        "29:",
        "jmp {start}",
        ".cfi_endproc",
        at_coracle = const AT_CORACLE,
        start = sym super::start,
    )
}
