//! Call after call, with faults of every kind mixed in, as many as `CORACLE_POOL_CALLS` says: each is
//! answered as it should be, and together they leave nothing behind.

use super::{LONG, NONE, obedient, text, wait_until};
use crate::holdings::{Holdings, descriptors, threads, watching};
use crate::library::alone;
use crate::support::no_kvm;
use coracle_tender::pool::{CallError, Limits, Output, Overrun, Pool};
use futures_executor::block_on;
use std::time::Duration;

const THREADS: u64 = 4;

fn calls() -> u64 {
    let calls = std::env::var("CORACLE_POOL_CALLS");
    calls.map_or(4000, |calls| calls.parse().expect("a number of calls"))
}

/// What a call is to come to.
type Check = fn(u64, Result<Output, CallError>) -> bool;

/// The call of this number: its input, its limits, and what is to come of it. Every twentieth goes wrong.
fn call(number: u64) -> (String, Limits, Check) {
    let limits = Limits::new().time(LONG);
    let crashed: Check = |_, result| matches!(result, Err(CallError::Crashed { .. }));
    if !number.is_multiple_of(20) {
        return (format!("echo {number}"), limits, |number, result| {
            result.is_ok_and(|output| text(output) == number.to_string())
        });
    }
    match number / 20 % 8 {
        0 => ("panic on purpose".to_owned(), limits, crashed),
        1 => ("fault".to_owned(), limits, crashed),
        2 => ("loop".to_owned(), limits.time(Duration::from_millis(2)), |_, result| {
            matches!(result, Err(CallError::Overran(Overrun::Time(_)) | CallError::Busy(_)))
        }),
        3 => ("heap 16777216".to_owned(), limits.memory(4 << 20), |_, result| {
            matches!(result, Err(CallError::Overran(Overrun::Memory(_))))
        }),
        4 => ("output 100000".to_owned(), limits.output(99_999), |_, result| {
            matches!(result, Err(CallError::Overran(Overrun::Output(_))))
        }),
        5 => (
            "host fails".to_owned(),
            limits,
            |_, result| matches!(result, Err(CallError::Failed { reason, .. }) if reason.contains("on purpose")),
        ),
        6 => ("exit 3".to_owned(), limits, |_, result| {
            matches!(result, Err(CallError::Exited { status: 3, .. }))
        }),
        _ => ("heap 8388608".to_owned(), limits, |_, result| result.is_ok()),
    }
}

fn round(pool: &Pool, count: u64) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in (thread..count).step_by(THREADS as usize) {
                    let (input, limits, check) = call(number);
                    let result = match number % 2 {
                        0 if thread % 2 == 0 => block_on(pool.call_async(input.clone(), limits)),
                        _ => pool.call(input.as_bytes(), limits),
                    };
                    let shown = format!("{result:?}");
                    assert!(
                        check(number, result),
                        "{number}, {input}: {}",
                        shown.get(..400).unwrap_or(&shown)
                    );
                }
            });
        }
    });
}

#[test]
fn call_after_call_is_answered_right_and_leaves_nothing_behind() {
    if no_kvm() {
        return;
    }
    alone("pool::soak::call_after_call_is_answered_right_and_leaves_nothing_behind", || {
        let outside = threads();
        let pool = obedient()
            .max(8)
            .keep(Duration::ZERO)
            .function_of_bytes("fails", |_| Err("on purpose".to_owned()))
            .build()
            .expect("a pool");
        // An instance that no longer counts has its descriptors until it is torn down.
        let with_one = descriptors();
        let settle = || {
            // Threads of the pool that have nothing to do stay for some time: they are as many as CPUs.
            let alone = || wait_until(|| pool.metrics().instances == 1 && pool.metrics().idle == 1);
            // Memory that no run touches any more is given back after some runs, of this instance: where it
            // has a lot to be cleaned of, the next call would take another.
            for _ in 0..8 {
                alone();
                pool.call(b"echo", NONE).expect("an answer");
            }
            alone();
            wait_until(|| descriptors() == with_one && watching() <= 2);
        };
        // What the process keeps from its first calls, it keeps once.
        round(&pool, 800);
        settle();
        let threads = threads();
        let before = Holdings::with_threads(threads);
        round(&pool, calls());
        settle();
        Holdings::with_threads(threads).expect_no_more_than(&before);
        drop(pool);
        wait_until(|| crate::holdings::threads() <= outside);
    });
}
