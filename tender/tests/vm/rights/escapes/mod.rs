//! Ways out of a process that runs a guest: each ends the guest, and nothing else.

use super::code::{Code, ROOM, bytes, hexadecimal};
use super::machine::Ran;

mod calls;
mod foothold;
mod memory;
mod state;

/// Runs bytes as code in a process.
fn attempt_bytes(code: &[u8]) -> Ran {
    assert!(code.len() <= ROOM);
    Ran::in_process("run_code", &[&hexadecimal(code)])
}

fn attempt(code: Code) -> Ran {
    attempt_bytes(&bytes(code))
}

/// The end of a program's address space under Linux, before which the tender's pages of the process are.
const END: u64 = (1 << 47) - 4096;
const OWN_PAGES: u64 = 4 * 4096;
