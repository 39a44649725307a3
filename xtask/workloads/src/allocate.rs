//! The allocator: 20,000 live blocks, of which one after the other is replaced.

use crate::{Machine, Random, time};
use alloc::vec::Vec;

const LIVE: usize = 20_000;

/// Frees and allocates `size` times; the figure is for one free and one allocation.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let mut random = Random(1);
    let mut blocks: Vec<Vec<u8>> = (0..LIVE).map(|_| block(&mut random)).collect();
    time(machine, size, || {
        for _ in 0..size {
            let place = random.next() as usize % LIVE;
            blocks[place] = Vec::new();
            blocks[place] = block(&mut random);
        }
    })
}

/// A block of 16 to 527 bytes, of which the first is written.
fn block(random: &mut Random) -> Vec<u8> {
    let mut block = Vec::with_capacity(16 + random.next() as usize % 512);
    block.push(1);
    block
}
