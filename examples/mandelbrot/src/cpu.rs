//! What the CPU can do. (`is_x86_feature_detected!` is part of `std` only.)

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Whether 256-bit AVX2 code runs.
pub fn has_avx2() -> bool {
    const AVX2: u32 = 1 << 5;
    const SSE_AND_AVX_STATE: u64 = 0b110;
    saves_state(SSE_AND_AVX_STATE) && extended_features() & AVX2 != 0
}

/// Whether 512-bit AVX-512 code runs.
pub fn has_avx512() -> bool {
    const AVX512F: u32 = 1 << 16;
    const SSE_AVX_AND_AVX512_STATE: u64 = 0b1110_0110;
    saves_state(SSE_AVX_AND_AVX512_STATE) && extended_features() & AVX512F != 0
}

/// EBX of leaf 7.
fn extended_features() -> u32 {
    if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).ebx }
}

/// Whether these states of the CPU's registers are switched on.
fn saves_state(states: u64) -> bool {
    const OSXSAVE: u32 = 1 << 27;
    // SAFETY: OSXSAVE says that `xgetbv` exists and register 0 may be read.
    __cpuid(1).ecx & OSXSAVE != 0 && unsafe { xcr0() } & states == states
}

/// # Safety
/// The CPU has `xgetbv`, and it is switched on.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { _xgetbv(0) }
}
