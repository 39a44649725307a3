//! Writes its arguments but the first, then its environment, each with a NUL behind it.
#![no_std]
#![no_main]

use coracle::env;
use coracle::io::{Error, Write, stdout};

#[coracle::main]
fn main() -> Result<(), Error> {
    let mut output = stdout().lock();
    for argument in env::args_bytes().skip(1) {
        output.write_all(argument)?;
        output.write_all(b"\0")?;
    }
    for (name, value) in env::vars_bytes() {
        for part in [name, b"=", value, b"\0"] {
            output.write_all(part)?;
        }
    }
    Ok(())
}
