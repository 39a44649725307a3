//! Reads the clock again and again: at least a million times, and for the milliseconds that its
//! argument gives. Fails if the clock ever runs backwards.
#![no_std]
#![no_main]

use coracle::time::{Duration, Instant};
use coracle::{ExitCode, env, println};

#[coracle::main]
fn main() -> ExitCode {
    let milliseconds = env::args().nth(1).and_then(|text| text.parse().ok()).expect("milliseconds");
    let start = Instant::now();
    let (mut last, mut readings) = (start, 0_u64);
    while readings < 1_000_000 || last.duration_since(start) < Duration::from_millis(milliseconds) {
        let now = Instant::now();
        if now < last {
            println!("{:?} too early", last.duration_since(now));
            return ExitCode::FAILURE;
        }
        last = now;
        readings += 1;
    }
    println!("{readings}");
    ExitCode::SUCCESS
}
