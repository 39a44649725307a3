//! Makes every call, and some that do not exist, with every value that may confuse the tender in
//! every argument and in every pair of neighbouring ones. With a number as its argument, it makes one in so
//! many of these calls.
#![no_std]
#![no_main]

use coracle::hypercall::call::Call;
use coracle::hypercall::log::LogRecord;
use coracle::hypercall::memory::GuestSlice;
use coracle::{env, println};
use guests::hostile::{arena, make, values};

#[coracle::main]
fn main() {
    let values = values();
    let known = Call::ALL.iter().map(|&call| call as u64);
    let unknown = [Call::ALL.len() as u64, 1 << 16, 1 << 32, 1 << 63, u64::MAX];
    let each = env::args().nth(1).map_or(1, |text| text.parse::<u64>().expect("a number"));
    let mut calls = 0_u64;
    let mut call = |arguments| {
        calls += 1;
        if calls.is_multiple_of(each) {
            let _ = make(arguments);
        }
    };
    for number in known.chain(unknown) {
        for x in values {
            for y in values {
                call([number, x, y, 0, 0]);
            }
            for rights in 0..9 {
                call([number, x, 4096, rights, x]);
            }
            call([number, 1, x, 1, x]);
            call([number, arena().address.0, x, 1, 0]);
            call([number, 1, arena().address.0, x, 0]);
        }
    }
    // The same in the structures that calls point to.
    for x in values {
        for y in values {
            let slices = [GuestSlice::new(x, 1), GuestSlice::new(x, y)];
            call([Call::ConsoleWrite as u64, 1, slices.as_ptr().addr() as u64, 2, 0]);
            let text = GuestSlice::new(x, y);
            let record = LogRecord { level: 5, reserved: 0, target: text, message: text };
            call([Call::Log as u64, (&raw const record).addr() as u64, 0, 0, 0]);
        }
    }
    println!("{} calls answered", calls / each);
}
