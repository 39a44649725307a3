//! `memcpy` and its kin, which compilers call on their own.
//!
//! They are written in assembly because a compiler turns a loop that copies bytes into a call of
//! `memcpy`. Sizes up to 128 bytes are done without a loop, by loads and stores that overlap in the
//! middle; larger ones by a loop of 64 bytes; still larger ones by the string instructions, whose
//! microcode is the fastest way once its start has paid off.

use core::arch::naked_asm;

/// Copies `rdx` bytes from `rsi` to `rdi`, which must not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(".cfi_startproc", "jmp {memmove}", ".cfi_endproc", memmove = sym memmove)
}

/// Copies `rdx` bytes from `rsi` to `rdi`, which may overlap: up to 128 bytes, all is loaded before
/// any is stored; beyond that, from the end that is not overwritten first.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        ".cfi_startproc",
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 20f",
        "cmp rdx, 32",
        "ja 30f",
        // 16 to 32.
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        // 0 to 15.
        "20:",
        "cmp edx, 8",
        "jae 23f",
        "cmp edx, 4",
        "jae 22f",
        "cmp edx, 1",
        "jb 21f",
        "movzx ecx, byte ptr [rsi]",
        "je 24f",
        "movzx r8d, word ptr [rsi + rdx - 2]",
        "mov [rdi + rdx - 2], r8w",
        "24:",
        "mov [rdi], cl",
        "21:",
        "ret",
        "22:",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        "23:",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        // 33 to 64.
        "30:",
        "cmp rdx, 64",
        "ja 40f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + rdx - 32]",
        "movups xmm3, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + rdx - 32], xmm2",
        "movups [rdi + rdx - 16], xmm3",
        "ret",
        // 65 to 128.
        "40:",
        "cmp rdx, 128",
        "ja 50f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "movups xmm4, [rsi + rdx - 64]",
        "movups xmm5, [rsi + rdx - 48]",
        "movups xmm6, [rsi + rdx - 32]",
        "movups xmm7, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + 32], xmm2",
        "movups [rdi + 48], xmm3",
        "movups [rdi + rdx - 64], xmm4",
        "movups [rdi + rdx - 48], xmm5",
        "movups [rdi + rdx - 32], xmm6",
        "movups [rdi + rdx - 16], xmm7",
        "ret",
        // Above 128. Where the target begins within the source, go backwards.
        "50:",
        "mov rcx, rdi",
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jb 60f",
        "cmp rdx, {string}",
        "jae 55f",
        // Forwards. The last 64 bytes are loaded now and stored last, the first 16 likewise, so
        // that the loop can store to multiples of 16.
        "51:",
        "movups xmm4, [rsi + rdx - 64]",
        "movups xmm5, [rsi + rdx - 48]",
        "movups xmm6, [rsi + rdx - 32]",
        "movups xmm7, [rsi + rdx - 16]",
        "movups xmm8, [rsi]",
        "lea r8, [rdi + rdx - 64]", // where the last 64 bytes go
        "lea rcx, [rdi + 16]",
        "and rcx, -16",
        "sub rcx, rdi",
        "add rsi, rcx",
        "add rcx, rdi", // the first multiple of 16 above the start
        "52:",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "add rsi, 64",
        "movaps [rcx], xmm0",
        "movaps [rcx + 16], xmm1",
        "movaps [rcx + 32], xmm2",
        "movaps [rcx + 48], xmm3",
        "add rcx, 64",
        "cmp rcx, r8",
        "jb 52b",
        "movups [r8], xmm4",
        "movups [r8 + 16], xmm5",
        "movups [r8 + 32], xmm6",
        "movups [r8 + 48], xmm7",
        "movups [rax], xmm8",
        "ret",
        // By the string instruction, unless source and target are so near that it becomes slow.
        "55:",
        "mov rcx, rsi",
        "sub rcx, rdi",
        "cmp rcx, 64",
        "jb 51b",
        "mov rcx, rdx",
        "rep movsb",
        "ret",
        // Backwards, mirrored.
        "60:",
        "test rcx, rcx",
        "jz 62f",
        "movups xmm4, [rsi]",
        "movups xmm5, [rsi + 16]",
        "movups xmm6, [rsi + 32]",
        "movups xmm7, [rsi + 48]",
        "movups xmm8, [rsi + rdx - 16]",
        "lea r9, [rdi + rdx - 16]", // where the last 16 bytes go
        "lea r8, [rdi + rdx - 1]",
        "and r8, -16", // the last multiple of 16 below the end
        "lea rcx, [r8]",
        "sub rcx, rdi",
        "add rsi, rcx",
        "lea rcx, [rdi + 64]",
        "61:",
        "movups xmm0, [rsi - 16]",
        "movups xmm1, [rsi - 32]",
        "movups xmm2, [rsi - 48]",
        "movups xmm3, [rsi - 64]",
        "sub rsi, 64",
        "movaps [r8 - 16], xmm0",
        "movaps [r8 - 32], xmm1",
        "movaps [r8 - 48], xmm2",
        "movaps [r8 - 64], xmm3",
        "sub r8, 64",
        "cmp r8, rcx",
        "ja 61b",
        "movups [rax], xmm4",
        "movups [rax + 16], xmm5",
        "movups [rax + 32], xmm6",
        "movups [rax + 48], xmm7",
        "movups [r9], xmm8",
        "62:",
        "ret",
        ".cfi_endproc",
        string = const STRING_COPY,
    )
}

/// From how many bytes on the string instruction copies faster than a loop.
const STRING_COPY: usize = 2048;
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

/// The difference of the first two bytes that differ among `rdx` at `rdi` and at `rsi`, else 0.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    naked_asm!(
        ".cfi_startproc",
        "cmp rdx, 16",
        "jb 30f",
        // 16 at a time, of which the last 16 may have been compared in part before.
        "lea r8, [rdx - 16]",
        "xor ecx, ecx",
        "20:",
        "movups xmm0, [rdi + rcx]",
        "movups xmm1, [rsi + rcx]",
        "pcmpeqb xmm0, xmm1",
        "pmovmskb eax, xmm0",
        "xor eax, 0xffff",
        "jnz 25f",
        "cmp rcx, r8",
        "jae 29f",
        "add rcx, 16",
        "cmp rcx, r8",
        "cmova rcx, r8",
        "jmp 20b",
        "25:", // the lowest bit set says which byte differs
        "bsf eax, eax",
        "add rcx, rax",
        "movzx eax, byte ptr [rdi + rcx]",
        "movzx edx, byte ptr [rsi + rcx]",
        "sub eax, edx",
        "ret",
        "29:",
        "xor eax, eax",
        "ret",
        // 0 to 15: as big-endian numbers, whose order is that of the bytes.
        "30:",
        "cmp edx, 8",
        "jb 40f",
        "mov rax, [rdi]",
        "mov rcx, [rsi]",
        "cmp rax, rcx",
        "jne 35f",
        "mov rax, [rdi + rdx - 8]",
        "mov rcx, [rsi + rdx - 8]",
        "cmp rax, rcx",
        "je 29b",
        "35:",
        "bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
        "40:",
        "cmp edx, 4",
        "jb 50f",
        "mov eax, [rdi]",
        "mov ecx, [rsi]",
        "cmp eax, ecx",
        "jne 45f",
        "mov eax, [rdi + rdx - 4]",
        "mov ecx, [rsi + rdx - 4]",
        "cmp eax, ecx",
        "je 29b",
        "45:",
        "bswap eax",
        "bswap ecx",
        "cmp eax, ecx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
        "50:",
        "xor ecx, ecx",
        "51:",
        "cmp ecx, edx",
        "je 29b",
        "movzx eax, byte ptr [rdi + rcx]",
        "movzx r8d, byte ptr [rsi + rcx]",
        "inc ecx",
        "sub eax, r8d",
        "jz 51b",
        "ret",
        ".cfi_endproc",
    )
}

/// Zero when `rdx` bytes at `rdi` and at `rsi` are the same.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    naked_asm!(".cfi_startproc", "jmp {memcmp}", ".cfi_endproc", memcmp = sym memcmp)
}

/// The count of bytes at `rdi` before the first zero. Reads whole aligned 16 bytes, which never
/// cross into a page that the string is not in.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    naked_asm!(
        ".cfi_startproc",
        "pxor xmm0, xmm0",
        "mov rdx, rdi",
        "and rdx, -16",
        "mov ecx, edi",
        "and ecx, 15",
        "movaps xmm1, [rdx]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb eax, xmm1",
        "shr eax, cl", // what lies before the string does not count
        "test eax, eax",
        "jnz 21f",
        "20:",
        "add rdx, 16",
        "movaps xmm1, [rdx]",
        "pcmpeqb xmm1, xmm0",
        "pmovmskb eax, xmm1",
        "test eax, eax",
        "jz 20b",
        "bsf eax, eax",
        "sub rdx, rdi",
        "add rax, rdx",
        "ret",
        "21:",
        "bsf eax, eax",
        "ret",
        ".cfi_endproc",
    )
}
