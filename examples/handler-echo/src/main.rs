//! The smallest handler: gives back what it was given, from where it lies.
//!
//! ```console
//! $ echo Hello | cargo run --release
//! Hello
//! $ echo Hello | coracle invoke target/release/handler-echo --input -
//! Hello
//! ```
#![no_std]
#![no_main]

#[coracle::handler]
fn echo(input: &[u8]) -> &[u8] {
    input
}
