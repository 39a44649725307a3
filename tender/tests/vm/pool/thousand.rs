//! A thousand instances of one process.

use super::{NONE, snapshot, text, wait_until};
use crate::lane::times;
use crate::library::alone;
use crate::support::{guest, host, no_kvm_for};
use coracle_tender::pool::Pool;
use std::sync::Barrier;

/// What a process does otherwise.
const WHAT: &str = "instances that share the pages of a snapshot";

/// Lets this process open as many files as it ever may.
fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is a local.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    limit.rlim_cur
}

/// This process's own memory in KiB.
fn resident() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let sum = |name: &str| -> u64 {
        let lines = rollup.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")).sum()
    };
    sum("Private_Dirty:") + sum("Private_Clean:")
}

#[test]
fn a_thousand_idle_instances_take_little_memory_and_all_answer() {
    if no_kvm_for(WHAT) {
        return;
    }
    alone("pool::thousand::a_thousand_idle_instances_take_little_memory_and_all_answer", || {
        let count = times(1000, 50) as usize;
        if raise_descriptors() < host().descriptors_per_instance() * count as u64 + 100 {
            crate::not_run::not_run("too few descriptors: see `ulimit -n -H`");
            return;
        }
        let snapshot = snapshot(&guest("on_command"), &[]);
        let before = resident();
        let pool = Pool::builder(snapshot).min(count).max(count).build().expect("a pool");
        wait_until(|| pool.metrics().idle == count);
        let idle = (resident() - before) / count as u64;
        assert!(idle <= 64, "{idle} KiB each before the first call");
        // All of them in use at once: each call waits in its machine for the last.
        let all = Barrier::new(count);
        std::thread::scope(|scope| {
            for number in 0..count {
                let (pool, all) = (&pool, &all);
                let call = move || {
                    all.wait();
                    let input = format!("echo {number}");
                    assert_eq!(
                        text(pool.call(input.as_bytes(), NONE).expect("an answer")),
                        number.to_string()
                    );
                };
                std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, call)
                    .expect("a thread");
            }
        });
        let metrics = pool.metrics();
        assert_eq!((metrics.answered, metrics.created, metrics.idle), (count as u64, count as u64, count));
        let used = (resident() - before) / count as u64;
        assert!(used <= 512, "{used} KiB each after a call");
    });
}
