//! Gives its input back, the last byte first, from where it lies.
#![no_std]
#![no_main]

#[coracle::handler]
fn reverse(input: &mut [u8]) -> &mut [u8] {
    input.reverse();
    input
}
