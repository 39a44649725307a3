//! Calls functions of the host, and gives back what came of it.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use coracle::host;

coracle::host_functions! {
    /// The host's word for a number.
    fn word(number: u32) -> String;
    fn join(left: &str, right: &str) -> String;
    fn nothing();
}

#[coracle::handler]
fn ask(input: &[u8]) -> Vec<u8> {
    let answers = format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n",
        word(7),
        join("left", "right"),
        nothing(),
        host::call::<u32>("word", &7),
        host::call_bytes("bytes", input).map(|reply| (reply.len(), reply.last().copied())),
    );
    answers.into()
}
