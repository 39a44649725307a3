//! Reads, writes or executes one address: `touch ACTION ADDRESS`, the address in hexadecimal.
#![no_std]
#![no_main]

use coracle::{ExitCode, env};
use core::hint::black_box;
use core::ptr::with_exposed_provenance_mut;

#[unsafe(no_mangle)]
static IN_CONSTANTS: u64 = 1;
#[unsafe(no_mangle)]
static IN_RELRO: &u64 = &IN_CONSTANTS;
#[unsafe(no_mangle)]
static mut IN_DATA: u64 = 1;
#[unsafe(no_mangle)]
static mut IN_BSS: u64 = 0;

#[unsafe(no_mangle)]
extern "C" fn in_text(_: u64) {}

#[coracle::main]
fn main() -> ExitCode {
    black_box((&raw const IN_CONSTANTS, &raw const IN_RELRO, &raw mut IN_DATA, &raw mut IN_BSS));
    black_box(in_text as extern "C" fn(u64));

    let arguments = env::args().nth(1).zip(env::args().nth(2));
    let Some((action, address)) = arguments else { return ExitCode::from(2) };
    let Ok(address) = usize::from_str_radix(&address, 16) else { return ExitCode::from(2) };
    let place = with_exposed_provenance_mut::<u8>(address);
    // SAFETY: none, and that is the point: the machine says what may be done. What may be written
    // is in use by nobody.
    unsafe {
        match &*action {
            "read" => drop(black_box(place.read_volatile())),
            "write" => place.write_volatile(0),
            "execute" => core::mem::transmute::<*mut u8, extern "C" fn(u64)>(place)(0),
            _ => return ExitCode::from(2),
        }
    }
    ExitCode::SUCCESS
}
