//! The smallest program.
#![no_std]
#![no_main]

#[coracle::main]
fn main() {
    coracle::println!("Hello from a virtual machine of my own!");
}
