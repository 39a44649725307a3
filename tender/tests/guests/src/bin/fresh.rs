//! Answers what is to be fresh in each run: identity, seed, random bytes, then in nanoseconds how much
//! time has passed since before the program was ready, and the wall clock.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use coracle::time::{Instant, SystemTime, UNIX_EPOCH};
use coracle::{instance, random};

fn before() -> Instant {
    // Drawn here, so that the next one would be alike in all runs if it came from the same seed.
    let _ = instance::seed();
    Instant::now()
}

#[coracle::handler(init = before)]
fn fresh(before: &Instant, _: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    let mut answer = Vec::new();
    answer.extend(instance::identity().expect("a run has an identity"));
    answer.extend(instance::seed());
    answer.extend(bytes);
    let passed = Instant::now().checked_duration_since(*before).expect("time does not run backwards");
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    answer.extend((passed.as_nanos() as u64).to_le_bytes());
    answer.extend((wall.as_nanos() as u64).to_le_bytes());
    answer
}
