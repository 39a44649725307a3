//! Initialises itself as its first argument says, says that it is ready, and goes on as its second says.
#![no_std]
#![no_main]

use coracle::io::{Read, stdin};
use coracle::{env, eprintln, println};

#[coracle::main]
fn main() {
    match env::args().nth(1).as_deref() {
        Some("speak") => {
            println!("prepared on standard output");
            eprintln!("prepared on standard error");
        }
        Some("fail") => {
            eprintln!("about to fail");
            panic!("cannot prepare");
        }
        Some("forever") => loop {
            core::hint::spin_loop();
        },
        _ => {}
    }
    coracle::ready();
    match env::args().nth(2).as_deref() {
        Some("crash") => overwrite_nothing(),
        Some("forever") => loop {
            core::hint::spin_loop();
        },
        _ => {
            let mut input = [0; 64];
            let length = stdin().lock().read(&mut input).unwrap_or_default();
            println!("went on with {:?}", core::str::from_utf8(&input[..length]));
        }
    }
}

#[inline(never)]
fn overwrite_nothing() {
    // SAFETY: there is nothing there, so this ends the program, which is what it is for.
    unsafe { core::ptr::without_provenance_mut::<u8>(0x10).write_volatile(1) };
}
