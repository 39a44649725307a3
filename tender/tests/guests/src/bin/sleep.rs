//! Sleeps for the milliseconds that its argument gives, and prints how many nanoseconds that took.
#![no_std]
#![no_main]

use coracle::time::{Duration, Instant, sleep};
use coracle::{env, println};

#[coracle::main]
fn main() {
    let milliseconds = env::args().nth(1).and_then(|text| text.parse().ok()).expect("milliseconds");
    let start = Instant::now();
    sleep(Duration::from_millis(milliseconds));
    println!("{}", start.elapsed().as_nanos());
}
