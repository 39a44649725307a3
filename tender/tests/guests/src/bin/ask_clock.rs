//! For each line that it reads, prints monotonic and wall time in nanoseconds.
#![no_std]
#![no_main]

use coracle::io::stdin;
use coracle::println;
use coracle::time::{Instant, SystemTime, UNIX_EPOCH};

#[coracle::main]
fn main() {
    let start = Instant::now();
    for _ in stdin().lines() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        println!("{} {}", start.elapsed().as_nanos(), wall.as_nanos());
    }
}
