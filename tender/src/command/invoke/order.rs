//! Calls, several at once, whose results come in order.

use super::callee::Called;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// How many results wait for one before them, at most.
const AHEAD: u64 = 1024;

#[derive(Default)]
struct Progress {
    /// The call to make next.
    next: u64,
    /// How many results were handed over.
    taken: u64,
    done: BTreeMap<u64, Called>,
    ended: bool,
}

/// Makes the calls from 0 to `count` on `jobs` threads, and hands over each result once, in order, until
/// `take` fails.
pub(super) fn in_order(
    count: u64,
    jobs: usize,
    call: impl Fn(u64) -> Called + Sync,
    mut take: impl FnMut(u64, Called) -> io::Result<()>,
) -> io::Result<()> {
    let (progress, changed) = (Mutex::new(Progress::default()), Condvar::new());
    let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let too_far = |progress: &mut Progress| !progress.ended && progress.next > progress.taken + AHEAD;
            let waited = changed.wait_while(lock(), too_far);
            let mut now = waited.unwrap_or_else(PoisonError::into_inner);
            if now.ended || now.next == count {
                return;
            }
            let number = now.next;
            now.next += 1;
            drop(now);
            let called = call(number);
            let mut now = lock();
            now.done.insert(number, called);
            let awaited = now.taken == number;
            drop(now);
            if awaited {
                changed.notify_all();
            }
        }
    };
    if jobs == 1 {
        return (0..count).try_for_each(|number| take(number, call(number)));
    }
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
        for number in 0..count {
            let missing = |progress: &mut Progress| !progress.done.contains_key(&number);
            let waited = changed.wait_while(lock(), missing);
            let mut now = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(called) = now.done.remove(&number) else { continue };
            now.taken = number + 1;
            let held_up = now.next >= now.taken + AHEAD;
            drop(now);
            if held_up {
                changed.notify_all();
            }
            if let Err(error) = take(number, called) {
                lock().ended = true;
                changed.notify_all();
                return Err(error);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{Called, in_order};
    use coracle_tender::pool::Output;
    use std::io;
    use std::time::Duration;

    fn called(number: u64) -> Called {
        // Even ones take longer.
        (0..(number + 1) % 2 * 1000).for_each(|_| std::hint::spin_loop());
        let output = Output { bytes: number.to_le_bytes().to_vec(), diagnostics: Vec::new() };
        Called { result: Ok(output), took: Duration::ZERO }
    }

    #[test]
    fn results_come_in_order_however_many_calls_are_made_at_once() {
        for jobs in [1, 2, 9] {
            let mut next = 0_u64;
            in_order(5000, jobs, called, |number, called| {
                assert_eq!(
                    (number, called.result.expect("an answer").bytes),
                    (next, next.to_le_bytes().to_vec())
                );
                next += 1;
                Ok(())
            })
            .expect("no failure");
            assert_eq!(next, 5000);
        }
    }

    #[test]
    fn nobody_waits_for_results_that_nobody_takes() {
        for jobs in [1, 2, 9] {
            let failed = in_order(100_000, jobs, called, |number, _| match number {
                7 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(()),
            });
            assert!(failed.is_err());
        }
    }
}
