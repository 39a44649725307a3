//! What this process has of the kernel, to show that guests leave nothing behind.

use std::time::{Duration, Instant};

/// How many threads this process has, those of the kernel for its VMs among them.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("threads").count()
}

/// Returns when there are no more threads than these: the kernel takes a thread out of its list a
/// moment after it has ended.
fn wait_until_gone(expected: usize) {
    let begin = Instant::now();
    while threads() > expected {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} threads are left", threads() - expected);
        std::thread::yield_now();
    }
}

/// What this process has of the kernel at a moment.
#[derive(Debug)]
pub(crate) struct Holdings {
    descriptors: usize,
    mappings: usize,
    resident_kib: u64,
}

impl Holdings {
    /// What there is when there are no more than so many threads.
    pub(crate) fn with_threads(threads: usize) -> Holdings {
        wait_until_gone(threads);
        // SAFETY: this gives free memory of the allocator back to the kernel.
        unsafe { libc::malloc_trim(0) };
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        Holdings {
            descriptors: std::fs::read_dir("/proc/self/fd").expect("descriptors").count(),
            mappings: maps.lines().count(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }

    /// Fails if there is more now than before. What the allocator keeps to itself, and the C library for
    /// further threads, may vary a little.
    pub(crate) fn expect_no_more_than(&self, before: &Holdings) {
        assert_eq!(before.descriptors, self.descriptors);
        assert!(self.mappings <= before.mappings + 32, "{before:?}, then {self:?}");
        assert!(self.resident_kib <= before.resident_kib + 4096, "{before:?}, then {self:?}");
    }
}
