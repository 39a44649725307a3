//! Computes so many rounds as its second argument says, with vectors of the kind that the first names, and writes
//! what comes of it to standard output.
#![no_std]
#![no_main]

use coracle::io::{Write, stdout};
use coracle::{ExitCode, env};
use guests::boot::info;
use guests::flight::{Flight, KINDS};

#[coracle::main]
fn main() -> ExitCode {
    let kind = env::args().nth(1).and_then(|name| KINDS.iter().position(|kind| *kind == name));
    let rounds = env::args().nth(2).and_then(|rounds| rounds.parse().ok());
    let (Some(kind), Some(rounds)) = (kind, rounds) else { return ExitCode::from(2) };
    let mut flight = Flight::new();
    // SAFETY: the test has seen to it that the CPU has these vectors; the entry is the tender's.
    unsafe { flight.go(kind, rounds, info().entry.0) };
    match stdout().lock().write_all(flight.bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
