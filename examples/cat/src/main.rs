//! Copies standard input to standard output, in large pieces.
//!
//! A read or write this large goes straight between the program's memory and the host's stream, so that
//! a piece of up to four mebibytes costs two exits from the machine.
//!
//! ```console
//! $ cargo run --release < picture.png > copy.png
//! ```
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use coracle::io::{Error, Read, Write, stdin, stdout};

#[coracle::main]
fn main() -> Result<(), Error> {
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    let mut buffer = vec![0; 4 << 20];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            length => output.write_all(&buffer[..length])?,
        }
    }
}
