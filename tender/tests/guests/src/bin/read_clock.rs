//! Reads the clock again and again: for the milliseconds that its first argument gives, and at least as often
//! as its second gives. Fails if the clock ever runs backwards.
#![no_std]
#![no_main]

use coracle::time::{Duration, Instant};
use coracle::{ExitCode, env, println};

#[coracle::main]
fn main() -> ExitCode {
    let number = |index| env::args().nth(index).and_then(|text| text.parse::<u64>().ok());
    let milliseconds = number(1).expect("milliseconds");
    let least = number(2).expect("a number of readings");
    let start = Instant::now();
    let (mut last, mut readings) = (start, 0_u64);
    while readings < least || last.duration_since(start) < Duration::from_millis(milliseconds) {
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
