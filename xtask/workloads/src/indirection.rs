//! What it costs to leave through a function whose address was read from memory, as guests do with
//! the entry page, instead of by an instruction of one's own.

use crate::{Machine, time};
use core::hint::black_box;

/// Calls `size` times; the figure is for one call less one round of the same loop without it.
pub(crate) fn run(size: u64, machine: &impl Machine) -> f64 {
    let entry: Entry = answer;
    let called = time(machine, size, || {
        for number in 0..size {
            black_box(black_box(entry)(number, 0, 0, 0, 0));
        }
    });
    let inline = time(machine, size, || {
        for number in 0..size {
            black_box(black_box(number) as i64);
        }
    });
    called - inline
}

type Entry = extern "C" fn(u64, u64, u64, u64, u64) -> i64;

#[inline(never)]
extern "C" fn answer(number: u64, _: u64, _: u64, _: u64, _: u64) -> i64 {
    number as i64
}
