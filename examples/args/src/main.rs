//! Prints its arguments and its environment.
//!
//! Both may be any bytes but NUL. `{:?}` on the bytes would show numbers, so this prints them with
//! what is not ASCII in escaped form: different bytes always look different.
//!
//! ```console
//! $ coracle run --env COLOUR=blue target/release/args -- one "two words" $'\xff'
//! argument 0: target/release/args
//! argument 1: one
//! argument 2: two words
//! argument 3: \xff
//! COLOUR: blue
//! ```
#![no_std]
#![no_main]

use coracle::{env, println};

#[coracle::main]
fn main() {
    for (index, argument) in env::args_bytes().enumerate() {
        println!("argument {index}: {}", argument.escape_ascii());
    }
    for (name, value) in env::vars_bytes() {
        println!("{}: {}", name.escape_ascii(), value.escape_ascii());
    }
}
