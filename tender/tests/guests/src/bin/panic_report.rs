//! Makes a panic call with whatever address its argument gives for the report, in hexadecimal; with
//! none, a report whose texts are not there.
#![no_std]
#![no_main]

use coracle::call::raw;
use coracle::env;
use coracle::hypercall::call::Call;
use coracle::hypercall::memory::GuestSlice;
use coracle::hypercall::panic::PanicReport;

#[coracle::main]
fn main() {
    let nowhere = GuestSlice::new(0x10, u64::MAX);
    let report = PanicReport { message: nowhere, file: nowhere, line: u32::MAX, column: 0 };
    let own = core::ptr::from_ref(&report).expose_provenance() as u64;
    let address = env::args().nth(1).map_or(own, |text| u64::from_str_radix(&text, 16).expect("an address"));
    // SAFETY: the call does not come back.
    unsafe { raw(Call::Panic as u64, address, 0, 0, 0) };
}
