//! Returns an error from `main`.
#![no_std]
#![no_main]

#[coracle::main]
fn main() -> Result<(), &'static str> {
    Err("this guest never succeeds")
}
