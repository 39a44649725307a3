//! Floating point: the Mandelbrot set, eight points at a time, with AVX2 where the CPU has it.

use crate::{Machine, time};
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::hint::black_box;

const LANES: usize = 8;
const DEPTH: u32 = 200;

/// Computes a square picture, `size` points wide; the figure is for one point.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let width = (size as usize).next_multiple_of(LANES);
    let wide = has_avx2();
    time(machine, (width * width) as u64, || {
        // SAFETY: `picture_avx2` needs AVX2, which was just found.
        let inside = if wide { unsafe { picture_avx2(black_box(width)) } } else { picture(black_box(width)) };
        black_box(inside);
    })
}

fn has_avx2() -> bool {
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    const SSE_AND_AVX_STATE: u64 = 0b110;
    const AVX2: u32 = 1 << 5;
    let leaf1 = __cpuid(1).ecx;
    // SAFETY: OSXSAVE, checked first, says that `xgetbv` may be used.
    leaf1 & OSXSAVE_AND_AVX == OSXSAVE_AND_AVX
        && unsafe { xcr0() } & SSE_AND_AVX_STATE == SSE_AND_AVX_STATE
        && __cpuid_count(7, 0).ebx & AVX2 != 0
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: register 0 exists wherever `xgetbv` does.
    unsafe { _xgetbv(0) }
}

#[target_feature(enable = "avx2,fma")]
fn picture_avx2(width: usize) -> u64 {
    picture(width)
}

/// How many points did not escape, a number that cannot be had without computing them all.
#[inline(always)]
fn picture(width: usize) -> u64 {
    let step = 3.0 / width as f64;
    let mut inside = 0;
    for row in 0..width {
        let y = row as f64 * step - 1.5;
        for column in (0..width).step_by(LANES) {
            let x = core::array::from_fn(|lane| (column + lane) as f64 * step - 2.0);
            inside += points(x, y);
        }
    }
    inside
}

#[inline(always)]
fn points(x: [f64; LANES], y: f64) -> u64 {
    let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
    let mut alive = [1.0f64; LANES];
    for _ in 0..DEPTH {
        for lane in 0..LANES {
            let (re2, im2) = (re[lane] * re[lane], im[lane] * im[lane]);
            alive[lane] = if re2 + im2 <= 4.0 { alive[lane] } else { 0.0 };
            im[lane] = (re[lane] + re[lane]) * im[lane] + y;
            re[lane] = re2 - im2 + x[lane];
        }
    }
    alive.iter().map(|&alive| alive as u64).sum()
}
