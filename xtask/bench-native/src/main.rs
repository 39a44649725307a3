//! The bench's workloads as an ordinary process: `bench-native WORKLOAD SIZE` prints a figure in
//! nanoseconds. The heap is glibc's, the clock the vDSO's.

use std::time::{Duration, Instant};
use workloads::Machine;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().expect("the name of a workload");
    let size = arguments.next().expect("a size").parse().expect("a number");
    let figure = workloads::run(&name, size, &Process { start: Instant::now() });
    println!("{}", figure.expect("a workload of this name"));
}

struct Process {
    start: Instant,
}

impl Machine for Process {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn memory(&self, bytes: usize) -> *mut u64 {
        const LARGE_PAGE: usize = 2 << 20;
        let length = bytes + LARGE_PAGE;
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new private mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        // SAFETY: the range is the mapping just made, and the advice changes no contents.
        unsafe { libc::madvise(start, length, libc::MADV_HUGEPAGE) };
        // SAFETY: the mapping is longer than asked for by what aligning may skip.
        unsafe { start.byte_add(start.align_offset(LARGE_PAGE)) }.cast()
    }
}
