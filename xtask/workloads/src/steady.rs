//! A program that computes in memory it has touched, and asks for nothing.

use crate::{Machine, time};
use core::hint::black_box;
use core::time::Duration;

/// Computes for about `size` milliseconds; the figure is how long it took.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let bytes = 16 << 20;
    let memory = machine.memory(bytes);
    time(machine, 1, || {
        let end = machine.now() + Duration::from_millis(size);
        while machine.now() < end {
            for word in 0..bytes / 8 {
                // SAFETY: `word` is below the number of words in the memory.
                unsafe { memory.add(word).write_volatile(black_box(word as u64)) };
            }
        }
    })
}
