//! Reading the clock.

use crate::{Machine, time};
use core::hint::black_box;

/// Reads the clock `size` times; the figure is for one reading.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    time(machine, size, || {
        for _ in 0..size {
            black_box(machine.now());
        }
    })
}
