//! Threads of a pool that are confined.

use super::in_a_child;
use crate::library::alone;
use crate::not_run::not_run;
use crate::support::{example, host, no_kvm};
use coracle_tender::confine::has_seccomp;
use coracle_tender::image::Image;
use coracle_tender::instance::Config;
use coracle_tender::pool::{Builder, Limits, Pool};
use coracle_tender::snapshot::Snapshot;
use futures_executor::block_on;
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// The most that calls of these tests may take.
const NONE: Limits = Limits::new().time(Duration::from_secs(60));

/// A pool of an example's instances.
fn pool_of(name: &str) -> Builder {
    let host = Arc::new(host());
    let image = Arc::new(Image::open(&example("release", name)).expect("an image"));
    let taken = Snapshot::take(&host, &image, &Config::default(), Duration::from_secs(60));
    Pool::builder(Arc::new(taken.expect("a snapshot").0))
}

/// The threads of this process that belong to pools, by name, and whether each is confined.
fn threads() -> Vec<(String, bool)> {
    let tasks = fs::read_dir("/proc/self/task").expect("threads").flatten();
    let of = |task: &fs::DirEntry, name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
    let found =
        tasks.map(|task| (of(&task, "comm").trim().to_owned(), of(&task, "status").contains("Seccomp:\t2")));
    found.filter(|(name, _)| name.starts_with("coracle-")).collect()
}

#[test]
fn threads_of_a_confined_pool_have_a_filter_and_others_none() {
    if no_kvm() {
        return;
    }
    if !has_seccomp() {
        not_run("this kernel has no seccomp");
        return;
    }
    alone("confine::pool::threads_of_a_confined_pool_have_a_filter_and_others_none", || {
        for confined in [false, true] {
            let pool = pool_of("handler-echo").confined(confined).max(4).build().expect("a pool");
            let calls: Vec<_> = (0..8).map(|_| pool.call_async("words", NONE)).collect();
            for call in calls {
                assert_eq!(block_on(call).expect("an answer").bytes, b"words");
            }
            let threads = threads();
            assert!(threads.iter().any(|(name, _)| name == "coracle-worker"), "{threads:?}");
            assert!(threads.iter().all(|(_, found)| *found == confined), "{confined}: {threads:?}");
            // The caller's own thread is as it was, and is called on as well.
            assert_eq!(pool.call(b"here", NONE).expect("an answer").bytes, b"here");
            assert!(fs::read_to_string("/proc/thread-self/status").expect("status").contains("Seccomp:\t0"));
            drop(pool);
            while !self::threads().is_empty() {
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn a_function_that_does_what_no_rule_allows_ends_the_process() {
    if no_kvm() {
        return;
    }
    if !has_seccomp() {
        not_run("this kernel has no seccomp");
        return;
    }
    alone("confine::pool::a_function_that_does_what_no_rule_allows_ends_the_process", || {
        let ended = |confined| {
            in_a_child(|| {
                let listens = |_: [f64; 0]| {
                    TcpListener::bind("127.0.0.1:0").map(|_| 3.5).map_err(|error| error.to_string())
                };
                let pool =
                    pool_of("handler-expressions").function("price", listens).confined(confined).build();
                let answer = pool.map(|pool| block_on(pool.call_async("2 * price()", NONE)));
                if matches!(answer, Ok(Ok(output)) if output.bytes == b"7") { 7 } else { 1 }
            })
        };
        let free = ended(false);
        assert!(libc::WIFEXITED(free) && libc::WEXITSTATUS(free) == 7, "{free:#x}");
        let confined = ended(true);
        assert!(libc::WIFSIGNALED(confined) && libc::WTERMSIG(confined) == libc::SIGSYS, "{confined:#x}");
    });
}
