//! The smallest program: prints one line.
//!
//! ```console
//! $ cargo run --release
//! Hello from a virtual machine of my own!
//! ```
#![no_std]
#![no_main]

use coracle::println;

#[coracle::main]
fn main() {
    println!("Hello from a virtual machine of my own!");
}
