//! `strlen`.

use core::arch::naked_asm;

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
