//! How fast each point of a row runs away.

use crate::cpu;
use core::arch::x86_64::*;

/// A row of the picture.
pub struct Row {
    /// The real part of the first point.
    pub left: f64,
    /// From one point to the next.
    pub step: f64,
    /// The imaginary part of all of them.
    pub y: f64,
    /// After how many iterations a point counts as one that stays.
    pub iterations: u32,
}

impl Row {
    fn x(&self, index: usize) -> f64 {
        self.left + self.step * index as f64
    }
}

/// A way to do it.
pub struct Kernel {
    name: &'static str,
    runs: fn() -> bool,
    count: unsafe fn(&Row, &mut [u32]),
}

/// The fastest first.
static KERNELS: [Kernel; 3] = [
    Kernel { name: "avx512", runs: cpu::has_avx512, count: count_avx512 },
    Kernel { name: "avx2", runs: cpu::has_avx2, count: count_avx2 },
    Kernel { name: "scalar", runs: || true, count: count_scalar },
];

impl Kernel {
    fn all() -> impl Iterator<Item = &'static Kernel> {
        KERNELS.iter().filter(|kernel| (kernel.runs)())
    }

    /// Those that this machine can run.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Kernel::all().map(|kernel| kernel.name)
    }

    /// The one with this name, or the fastest for `best`, if this machine can run it.
    pub fn named(name: &str) -> Option<&'static Kernel> {
        Kernel::all().find(|kernel| name == "best" || name == kernel.name)
    }

    /// Puts the number of iterations of each point into `counts`.
    pub fn count(&self, row: &Row, counts: &mut [u32]) {
        // SAFETY: only `Kernel::all` gives out kernels, and only those that this machine runs.
        unsafe { (self.count)(row, counts) }
    }
}

fn count_scalar(row: &Row, counts: &mut [u32]) {
    for (index, count) in counts.iter_mut().enumerate() {
        let x = row.x(index);
        let (mut real, mut imaginary) = (0.0, 0.0);
        *count = row.iterations;
        for iteration in 0..row.iterations {
            let (real2, imaginary2) = (real * real, imaginary * imaginary);
            if real2 + imaginary2 > 4.0 {
                *count = iteration;
                break;
            }
            let product = real * imaginary;
            imaginary = product + product + row.y;
            real = real2 - imaginary2 + x;
        }
    }
}

#[target_feature(enable = "avx2")]
fn count_avx2(row: &Row, counts: &mut [u32]) {
    let (y, four) = (_mm256_set1_pd(row.y), _mm256_set1_pd(4.0));
    for (group, counts) in counts.chunks_mut(4).enumerate() {
        let at = |lane| row.x(group * 4 + lane);
        let x = _mm256_setr_pd(at(0), at(1), at(2), at(3));
        let (mut real, mut imaginary) = (_mm256_setzero_pd(), _mm256_setzero_pd());
        let mut sum = _mm256_setzero_si256();
        for _ in 0..row.iterations {
            let (real2, imaginary2) = (_mm256_mul_pd(real, real), _mm256_mul_pd(imaginary, imaginary));
            let inside = _mm256_cmp_pd::<_CMP_LE_OQ>(_mm256_add_pd(real2, imaginary2), four);
            if _mm256_movemask_pd(inside) == 0 {
                break;
            }
            // A lane that is true is -1.
            sum = _mm256_sub_epi64(sum, _mm256_castpd_si256(inside));
            let product = _mm256_mul_pd(real, imaginary);
            imaginary = _mm256_add_pd(_mm256_add_pd(product, product), y);
            real = _mm256_add_pd(_mm256_sub_pd(real2, imaginary2), x);
        }
        let mut sums = [0_u64; 4];
        // SAFETY: both are 32 bytes.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), sum) };
        counts.iter_mut().zip(sums).for_each(|(count, sum)| *count = sum as u32);
    }
}

#[target_feature(enable = "avx512f")]
fn count_avx512(row: &Row, counts: &mut [u32]) {
    let (y, four, one) = (_mm512_set1_pd(row.y), _mm512_set1_pd(4.0), _mm512_set1_epi64(1));
    for (group, counts) in counts.chunks_mut(8).enumerate() {
        let at = |lane| row.x(group * 8 + lane);
        let x = _mm512_setr_pd(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
        let (mut real, mut imaginary) = (_mm512_setzero_pd(), _mm512_setzero_pd());
        let mut sum = _mm512_setzero_si512();
        for _ in 0..row.iterations {
            let (real2, imaginary2) = (_mm512_mul_pd(real, real), _mm512_mul_pd(imaginary, imaginary));
            let inside = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(_mm512_add_pd(real2, imaginary2), four);
            if inside == 0 {
                break;
            }
            sum = _mm512_mask_add_epi64(sum, inside, sum, one);
            let product = _mm512_mul_pd(real, imaginary);
            imaginary = _mm512_add_pd(_mm512_add_pd(product, product), y);
            real = _mm512_add_pd(_mm512_sub_pd(real2, imaginary2), x);
        }
        let mut sums = [0_u64; 8];
        // SAFETY: both are 64 bytes.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum) };
        counts.iter_mut().zip(sums).for_each(|(count, sum)| *count = sum as u32);
    }
}
