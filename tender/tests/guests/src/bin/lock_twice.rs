//! Takes standard input while it has it.
#![no_std]
#![no_main]

use coracle::io::stdin;

#[coracle::main]
fn main() {
    let _first = stdin().lock();
    let _second = stdin().lock();
}
