//! Puts the heap through its paces: alignments, sizes that change, exhaustion and what comes after.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use coracle::heap;
use core::alloc::Layout;
use guests::random::Random;

/// A block and the byte that it is full of.
struct Block {
    start: *mut u8,
    layout: Layout,
    byte: u8,
}

impl Block {
    /// A block, unless there is no memory for it.
    fn new(size: usize, align: usize, byte: u8) -> Option<Block> {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: the size is not zero.
        let start = unsafe { alloc::alloc::alloc(layout) };
        if start.is_null() {
            return None;
        }
        let mut block = Block { start, layout, byte };
        block.bytes().fill(byte);
        assert_eq!(start.addr() % align, 0, "{layout:?}");
        Some(block)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the block is this one's alone; it was filled or zero before it is read.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }

    fn check(&mut self) {
        let byte = self.byte;
        assert!(self.bytes().iter().all(|found| *found == byte), "{:?} was overwritten", self.layout);
    }

    /// Makes it larger or smaller. What stays must be as it was.
    fn resize(&mut self, size: usize) {
        let kept = size.min(self.layout.size());
        // SAFETY: the block is of this layout, and the size is not zero.
        let start = unsafe { alloc::alloc::realloc(self.start, self.layout, size) };
        assert!(!start.is_null());
        self.start = start;
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        assert_eq!(start.addr() % self.layout.align(), 0);
        let byte = self.byte;
        assert!(self.bytes()[..kept].iter().all(|found| *found == byte), "{size}: changed on its way");
        self.bytes().fill(byte);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.check();
        // SAFETY: the block is of this layout and is not used again.
        unsafe { alloc::alloc::dealloc(self.start, self.layout) }
    }
}

fn alignments() {
    for power in 0..=21 {
        let align = 1 << power;
        let blocks: Vec<Block> =
            [1, 7, 64, 4096, 5000].iter().map(|size| Block::new(*size, align, power).unwrap()).collect();
        drop(blocks);
        let layout = Layout::from_size_align(3 * align, align).unwrap();
        // SAFETY: the size is not zero; the block is freed with the layout that it was made with.
        unsafe {
            let start = alloc::alloc::alloc_zeroed(layout);
            assert!(!start.is_null() && start.addr().is_multiple_of(align), "{layout:?}");
            assert!(core::slice::from_raw_parts(start, layout.size()).iter().all(|byte| *byte == 0));
            alloc::alloc::dealloc(start, layout);
        }
    }
}

fn changes() {
    let mut random = Random::new(1);
    let mut blocks: Vec<Block> = Vec::with_capacity(64);
    for step in 0..4000_u64 {
        let most = 1 << random.below(18);
        let size = 1 + random.below(most) as usize;
        match random.below(3) {
            0 if blocks.len() < 64 => {
                blocks.push(Block::new(size, 1 << random.below(13), step as u8).unwrap());
            }
            1 if !blocks.is_empty() => drop(blocks.swap_remove(random.below(blocks.len() as u64) as usize)),
            _ if !blocks.is_empty() => {
                let index = random.below(blocks.len() as u64) as usize;
                blocks[index].resize(size);
            }
            _ => {}
        }
    }
    blocks.iter_mut().for_each(Block::check);
}

/// Takes blocks until there are no more and answers how many bytes that was.
fn exhaust(size: usize) -> usize {
    let mut blocks: Vec<Block> = Vec::with_capacity(1 << 14);
    while let Some(block) = Block::new(size, 16, blocks.len() as u8) {
        blocks.push(block);
        assert!(blocks.len() < 1 << 14);
    }
    blocks.len() * size
}

#[coracle::main]
fn main() {
    let before = heap::used();
    alignments();
    changes();
    assert_eq!(heap::used(), before);
    // Nearly all can be had, in large and in small blocks, and after it was all given back, again.
    for size in [1 << 20, 100_000, 10_000, 3 << 20, 1 << 20] {
        let got = exhaust(size);
        assert!(got * 10 > heap::size() * 7, "{got} bytes of {} in blocks of {size}", heap::size());
        assert_eq!(heap::used(), before);
    }
    assert!(Block::new(heap::size() * 2, 1, 0).is_none());
    assert!(Block::new(1, 1, 0).is_some());
    alignments();
    coracle::println!("all as it should be");
}
