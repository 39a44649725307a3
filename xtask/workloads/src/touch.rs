//! New memory: the first write to each of its pages.

use crate::{Machine, time};

/// Touches `size` MiB; the figure is for one MiB.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let bytes = (size as usize) << 20;
    let memory = machine.memory(bytes);
    time(machine, size, || {
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: the offset is below the memory's length and a multiple of a word's.
            unsafe { memory.byte_add(offset).write_volatile(1) };
        }
    })
}
