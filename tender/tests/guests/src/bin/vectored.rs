//! Writes the numbers from 0 to 63 but each seventh, one byte each: one call for each stream, with 64
//! buffers of which some are empty.
#![no_std]
#![no_main]

use coracle::call::{self, Bytes};
use coracle::hypercall::console::Stream;

#[coracle::main]
fn main() {
    // Where each buffer is has nothing to do with its turn; every seventh is empty.
    let bytes: [u8; 64] = core::array::from_fn(|index| 63 - index as u8);
    let buffers: [Bytes<'_>; 64] = core::array::from_fn(|turn| {
        let place = 63 - turn;
        let length = usize::from(turn % 7 != 0);
        Bytes::from(&bytes[place..place + length])
    });
    let taken = call::console_write(Stream::Output, &buffers);
    assert_eq!(taken, Ok(64 - 10));
    assert_eq!(call::console_write(Stream::Error, &buffers), Ok(64 - 10));
}
