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
    watching: usize,
    children: usize,
    timers: usize,
    mappings: usize,
    resident_kib: u64,
}

/// How many children all threads of this process have, those that nobody has waited for among them.
fn children() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// How many POSIX timers this process has, where the kernel tells.
fn timers() -> usize {
    let timers = std::fs::read_to_string("/proc/self/timers").unwrap_or_default();
    timers.lines().filter(|line| line.starts_with("ID:")).count()
}

/// How many descriptors this process has open, that of the look at them included, but for those that
/// [watch](watching) processes.
pub(crate) fn descriptors() -> usize {
    open(|is_watching| !is_watching)
}

/// How many descriptors tell which pages of processes were written: two for each process that has many.
pub(crate) fn watching() -> usize {
    open(|is_watching| is_watching)
}

fn open(counts: impl Fn(bool) -> bool) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    entries.filter(|entry| counts(is_watching(entry))).count()
}

/// Whether a descriptor, an entry of a process's list, tells which pages of a process were written.
pub(crate) fn is_watching(entry: &std::fs::DirEntry) -> bool {
    let name = std::fs::read_link(entry.path()).unwrap_or_default();
    let name = name.to_string_lossy();
    name.contains("userfaultfd") || name.ends_with("/pagemap")
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
            descriptors: descriptors(),
            watching: watching(),
            children: children(),
            timers: timers(),
            mappings: maps.lines().count(),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
        }
    }

    /// Fails if there is more now than before. What the allocator keeps to itself, and the C library for
    /// further threads, may vary a little; a thread may have a timer that had none, and an instance be watched.
    pub(crate) fn expect_no_more_than(&self, before: &Holdings) {
        assert_eq!(before.descriptors, self.descriptors);
        assert!(self.watching <= before.watching + 2, "{before:?}, then {self:?}");
        assert!(self.children <= before.children, "{before:?}, then {self:?}");
        assert!(self.timers <= before.timers + 8, "{before:?}, then {self:?}");
        assert!(self.mappings <= before.mappings + 32, "{before:?}, then {self:?}");
        assert!(self.resident_kib <= before.resident_kib + 4096, "{before:?}, then {self:?}");
    }
}
