//! Fills a MiB of heap from its argument and prints a number that depends on every byte of it.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use coracle::{env, println};
use guests::random::Random;

#[coracle::main]
fn main() {
    let seed = env::args().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    let mut random = Random::new(seed);
    let words: Vec<u64> = (0..1 << 17).map(|_| random.number()).collect();
    println!("{}", words.iter().fold(0_u64, |sum, word| sum.rotate_left(1) ^ word));
}
