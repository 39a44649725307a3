//! Takes 50 ms to initialise itself, says that it is ready, and ends.
#![no_std]
#![no_main]

use coracle::time::Instant;
use core::time::Duration;

#[coracle::main]
fn main() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        core::hint::spin_loop();
    }
    coracle::ready();
    coracle::println!("done");
}
