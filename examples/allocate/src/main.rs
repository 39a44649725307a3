//! Takes memory from the heap in steps, or all of it.
//!
//! ```console
//! $ cargo run --release             # fills half of the heap, piece by piece, and gives it back
//! $ cargo run --release -- exhaust  # goes on until the machine has no more, and ends with 101
//! ```
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use coracle::{ExitCode, env, eprintln, heap, println};

const PIECE: usize = 1 << 20;

#[coracle::main]
fn main() -> ExitCode {
    let limit = match env::args().nth(1).as_deref() {
        None => heap::size() / 2,
        Some("exhaust") => usize::MAX,
        Some(other) => {
            eprintln!("unknown argument {other:?}: say nothing, or `exhaust`");
            return ExitCode::from(2);
        }
    };
    println!("the heap can grow to {} MiB", heap::size() >> 20);

    let mut pieces: Vec<Vec<u8>> = Vec::new();
    while heap::used() < limit {
        pieces.push(vec![pieces.len() as u8; PIECE]);
        if pieces.len().is_power_of_two() {
            println!("{} MiB are in use", heap::used() >> 20);
        }
    }
    let whole = pieces.iter().enumerate().all(|(index, piece)| piece.iter().all(|&byte| byte == index as u8));
    println!("{} pieces of 1 MiB hold what was put into them: {whole}", pieces.len());
    drop(pieces);
    println!("{} bytes are in use after all is freed", heap::used());
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
