//! Makes as many random calls as its second argument says; its first is the seed.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use coracle::hypercall::call::Call;
use coracle::hypercall::memory::GuestSlice;
use coracle::{ExitCode, env};
use guests::hostile::{VALUES, arena, make, values};
use guests::random::Random;

#[coracle::main]
fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (seed, count) = (arguments.next().expect("a seed"), arguments.next().expect("a count"));
    // Touched once, so that more calls do not mean more memory.
    for word in (arena().address.0..arena().address.0 + arena().length).step_by(4096) {
        // SAFETY: nobody else uses the arena.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(word as usize).write_volatile(1) };
    }
    let before = checksum();
    let mut random = Random::new(seed);
    let values = values();
    // Structures that calls may point to: first of all slices, at times changed.
    let mut structures: Vec<GuestSlice> = (0..70).map(|_| slice(&mut random, &values)).collect();
    let place = structures.as_ptr().addr() as u64;
    for _ in 0..count {
        let index = random.below(structures.len() as u64) as usize;
        structures[index] = slice(&mut random, &values);
        let number = match random.below(40) {
            0 => random.number(),
            other => other % Call::ALL.len() as u64,
        };
        let mut argument = || match random.below(10) {
            0 => random.number(),
            1 => random.number() >> random.below(64),
            2 => place + random.below(1120),
            3..5 => random.below(70),
            _ => near(&mut random, &values),
        };
        let _ = make([number, argument(), argument(), argument(), argument()]);
    }
    drop(structures);
    if checksum() == before { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One of the values or close to it.
fn near(random: &mut Random, values: &[u64; VALUES]) -> u64 {
    let value = random.one_of(values);
    match random.below(3) {
        0 => value.wrapping_add(random.below(64)).wrapping_sub(32),
        _ => value,
    }
}

/// Mostly a short one: a call that succeeds must not take long.
fn slice(random: &mut Random, values: &[u64; VALUES]) -> GuestSlice {
    let address = near(random, values);
    let length = if random.below(4) == 0 { near(random, values) } else { random.below(200) };
    GuestSlice::new(address, length)
}

/// Of the program's own code and constants, which no call may change.
fn checksum() -> u64 {
    let start = guests::hostile::CONSTANT.as_ptr();
    // SAFETY: a constant.
    let words = unsafe { core::slice::from_raw_parts(start, 16) };
    // SAFETY: as above; volatile, so that it is really read.
    words.iter().fold(0, |sum: u64, word| sum.rotate_left(1) ^ unsafe { core::ptr::read_volatile(word) })
}
