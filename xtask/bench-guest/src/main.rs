//! The bench's workloads as a virtual machine: `bench-guest WORKLOAD SIZE` prints a figure in
//! nanoseconds. To those that a process has too it adds `call`: an empty hypercall.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::alloc::Layout;
use coracle::time::Instant;
use core::time::Duration;
use workloads::Machine;

#[coracle::main]
fn main() {
    let mut arguments = coracle::env::args().skip(1);
    let name = arguments.next().expect("the name of a workload");
    let size = arguments.next().expect("a size").parse().expect("a number");
    let figure = match &*name {
        "call" => Some(calls(size)),
        name => workloads::run(name, size, &Guest { start: Instant::now() }),
    };
    coracle::println!("{}", figure.expect("a workload of this name"));
}

/// Makes `count` calls that do nothing; the figure is for one.
fn calls(count: u64) -> f64 {
    let begin = Instant::now();
    for _ in 0..count {
        coracle::call::nothing().expect("a call that does nothing does not fail");
    }
    begin.elapsed().as_nanos() as f64 / count as f64
}

struct Guest {
    start: Instant,
}

impl Machine for Guest {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn memory(&self, bytes: usize) -> *mut u64 {
        let layout = Layout::from_size_align(bytes, 2 << 20).expect("a size that memory can have");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc::alloc::alloc(layout) };
        assert!(!memory.is_null(), "the heap has no {bytes} bytes: give the guest more with --mem");
        memory.cast()
    }
}
