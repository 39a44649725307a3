//! Gives one call more than a call may move: its heap, of which there is more.
#![no_std]
#![no_main]

use coracle::ExitCode;
use coracle::call::raw;
use coracle::hypercall::call::{Call, MAX_BYTES};
use coracle::hypercall::console::Stream;
use coracle::hypercall::memory::GuestSlice;
use guests::boot;

#[coracle::main]
fn main() -> ExitCode {
    let heap = boot::info().heap;
    assert!(heap.length > MAX_BYTES);
    let buffers = [heap, heap, GuestSlice::new(heap.address.0, u64::MAX)];
    let list = buffers.as_ptr().expose_provenance() as u64;
    // SAFETY: there is no input, so that nothing but the list is looked at.
    let (written, read) = unsafe {
        let written = raw(Call::ConsoleWrite as u64, Stream::Output as u64, list, buffers.len() as u64, 0);
        (written, raw(Call::ConsoleRead as u64, heap.address.0, u64::MAX, 0, 0))
    };
    if written == MAX_BYTES as i64 && read == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
