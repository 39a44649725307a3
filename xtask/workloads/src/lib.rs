//! What the bench lets a guest and a process do alike.
//!
//! Both are built from this source with the same profile; all that differs is the [`Machine`]
//! under them. Each workload times its own inner part, so that a start is never in the figure.
#![no_std]

extern crate alloc;

mod allocate;
mod chase;
mod clock;
mod indirection;
mod mandelbrot;
mod steady;
mod touch;

use core::time::Duration;

/// What a workload asks of whatever it runs on.
pub trait Machine {
    /// Time since some moment that does not change.
    fn now(&self) -> Duration;

    /// Memory that nobody has touched, aligned to 2 MiB, to be backed by large pages where the
    /// system has them. It is never given back.
    fn memory(&self, bytes: usize) -> *mut u64;
}

/// Runs the workload of this name and returns its figure in nanoseconds; nothing when there is
/// none of this name.
pub fn run(name: &str, size: u64, machine: &impl Machine) -> Option<f64> {
    Some(match name {
        "mandelbrot" => mandelbrot::run(size, machine),
        "chase" => chase::run(size, machine),
        "touch" => touch::run(size, machine),
        "allocate" => allocate::run(size, machine),
        "clock" => clock::run(size, machine),
        "indirection" => indirection::run(size, machine),
        "steady" => steady::run(size, machine),
        _ => return None,
    })
}

/// How long `work` takes, for one of `count`.
fn time(machine: &impl Machine, count: u64, work: impl FnOnce()) -> f64 {
    let begin = machine.now();
    work();
    (machine.now() - begin).as_nanos() as f64 / count as f64
}

/// Numbers that look random and are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
