//! Ends with the status that its argument gives.
#![no_std]
#![no_main]

use coracle::{env, process};

#[coracle::main]
fn main() {
    let status = env::args().nth(1).and_then(|text| text.parse().ok());
    process::exit(status.expect("a status"));
}
