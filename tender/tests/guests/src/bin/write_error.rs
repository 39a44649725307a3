//! Writes a line to standard error, and says on standard output how that went.
#![no_std]
#![no_main]

use coracle::io::{Write, stderr};
use coracle::println;

#[coracle::main]
fn main() {
    println!("{:?}", stderr().write(b"a line\n"));
}
