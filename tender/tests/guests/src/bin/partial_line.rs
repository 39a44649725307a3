//! Prints a prompt without a line's end, reads a line, and answers it.
#![no_std]
#![no_main]

use coracle::io::stdin;
use coracle::{print, println};

#[coracle::main]
fn main() {
    print!("name? ");
    let name = stdin().lines().next().expect("a line").expect("input");
    println!("hello, {name}");
    print!("no line's end");
}
