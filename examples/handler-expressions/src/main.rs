//! Evaluates expressions that nobody has looked at. Functions may be defined before the expression, and may
//! call themselves; those that are not defined are functions of the host.
//!
//! ```console
//! $ echo '1 + 2 * (3 - 4)' | cargo run --release
//! -1
//! $ echo 'fib(n) = if(n < 2, n, fib(n - 1) + fib(n - 2)); fib(20)' | cargo run --release
//! 6765
//! ```
//!
//! Nothing here guards against expressions without end: that is the machine's to do.
#![no_std]
#![no_main]

extern crate alloc;

mod evaluate;
mod parse;

use alloc::string::{String, ToString};

#[coracle::handler]
fn expression(input: &[u8]) -> Result<String, String> {
    let source = core::str::from_utf8(input).map_err(|error| error.to_string())?;
    let program = parse::program(source)?;
    evaluate::program(&program).map(|value| value.to_string())
}
