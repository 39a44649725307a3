//! Address translation: a chain of dependent loads, each from another line, all over memory.

use crate::{Machine, time};
use core::hint::black_box;

const LINE_WORDS: usize = 8;

/// Follows a chain through 512 MiB for `size` steps; the figure is for one step.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let bytes = 512 << 20;
    let lines = bytes / 64;
    let memory = machine.memory(bytes);
    for line in 0..lines {
        // SAFETY: `line` is below `lines`, so the word lies within the memory.
        unsafe { memory.add(line * LINE_WORDS).write(next(line, lines) as u64) };
    }
    time(machine, size, || {
        let mut line = 0;
        for _ in 0..size {
            // SAFETY: the chain holds numbers of lines only.
            line = unsafe { memory.add(line * LINE_WORDS).read() } as usize;
        }
        black_box(line);
    })
}

/// A step of a linear congruential generator with full period: it visits every line once before it
/// comes back, if `lines` is a power of two (Hull and Dobell).
fn next(line: usize, lines: usize) -> usize {
    line.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f) & (lines - 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_chain_visits_every_line() {
        let mut line = 0;
        for step in 1..=1024 {
            line = super::next(line, 1024);
            assert_eq!(line == 0, step == 1024);
        }
    }
}
