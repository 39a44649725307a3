//! Prints the environment variables that its arguments name, and then how many there are.
#![no_std]
#![no_main]

use coracle::{env, println};

#[coracle::main]
fn main() {
    for name in env::args().skip(1) {
        println!("{name}: {:?}", env::var(&name));
    }
    println!("{} in all", env::vars().count());
}
