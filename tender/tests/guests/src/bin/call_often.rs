//! Makes a thousand calls in a row, then does what its argument names: "compute" for ever, or "log" a record.
#![no_std]
#![no_main]

use coracle::hypercall::log::Level;
use coracle::{call, env, println};

#[coracle::main]
fn main() {
    for _ in 0..1000 {
        call::nothing().expect("a call that does nothing does not fail");
    }
    match env::args().nth(1).as_deref() {
        Some("compute") => compute(),
        Some("log") => call::log(Level::Info, "guest", "often").expect("it is logged"),
        _ => panic!("compute or log"),
    }
}

fn compute() -> ! {
    println!("ready");
    loop {
        core::hint::spin_loop();
    }
}
