//! Writes a line to each stream and aborts.
#![no_std]
#![no_main]

use coracle::{eprintln, print, process};

#[coracle::main]
fn main() {
    eprintln!("aborting");
    print!("this is still in the buffer");
    process::abort();
}
