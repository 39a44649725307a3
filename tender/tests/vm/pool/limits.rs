//! Limits: time, memory and output.

use super::{LONG, NONE, pool_of, snapshot, text};
use crate::lane;
use crate::library::alone;
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{CallError, Limits, Overrun, Pool};
use futures_executor::block_on;
use std::time::{Duration, Instant};

/// What each of these does, it does for ever.
const WITHOUT_END: [&[u8]; 4] = [b"loop", b"call", b"wait", b"subscribed"];

#[test]
fn a_guest_without_end_costs_its_caller_the_deadline_whatever_it_does() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(4);
    let limit = Duration::from_millis(30);
    for input in WITHOUT_END {
        for error in [
            pool.call(input, Limits::new().time(limit)).expect_err("it has no end"),
            block_on(pool.call_async(input, Limits::new().time(limit))).expect_err("it has no end"),
        ] {
            assert!(matches!(error, CallError::Overran(Overrun::Time(time)) if time == limit), "{error:?}");
        }
    }
    assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
}

/// For how long the threads of this process have waited for a CPU, all in all.
fn waited_for_cpus() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let waited = threads.filter_map(|thread| {
        // Nanoseconds on a CPU, nanoseconds of waiting for one, turns. Not every kernel counts.
        let counts = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        counts.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

/// How much longer than the limit this takes, in the middle of many. What it takes longer because other
/// programs have the CPUs is not ours.
fn delay(call: impl Fn(Limits) -> CallError) -> Duration {
    const LIMIT: Duration = Duration::from_millis(15);
    let mut delays: Vec<_> = (0..60)
        .map(|_| {
            let (before, begin) = (waited_for_cpus(), Instant::now());
            let error = call(Limits::new().time(LIMIT));
            let took = begin.elapsed();
            // Busy: on a machine with other work, the instance of the last call may still be on its way back.
            assert!(matches!(error, CallError::Overran(Overrun::Time(_)) | CallError::Busy(_)), "{error:?}");
            let late = took.checked_sub(LIMIT).expect("it does not end before its time");
            late.saturating_sub(waited_for_cpus().saturating_sub(before))
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn a_deadline_is_kept_within_two_milliseconds() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_within_two_milliseconds", || {
        // All threads that there will be are there: those that end take their counts with them.
        let pool = pool_of(1);
        block_on(pool.call_async(b"echo", NONE)).expect("an answer");
        let most = lane::delay(Duration::from_millis(2));
        let blocking = delay(|limits| pool.call(b"loop", limits).expect_err("it has no end"));
        assert!(blocking < most, "{blocking:?}");
        let own = delay(|limits| block_on(pool.call_async(b"loop", limits)).expect_err("it has no end"));
        assert!(own < most, "{own:?}");
    });
}

#[test]
fn runaway_guests_hold_up_nobody_else() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(16);
    let runaways: Vec<_> = (0..8).map(|_| pool.call_async(b"wait", NONE)).collect();
    let begin = Instant::now();
    for _ in 0..50 {
        assert_eq!(text(block_on(pool.call_async(b"echo on", NONE)).expect("an answer")), "on");
    }
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    drop(runaways);
}

#[test]
fn a_guest_that_touches_more_memory_than_it_may_is_ended() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let most = 8 << 20;
    let limits = Limits::new().memory(most);
    for _ in 0..3 {
        let error = pool.call(b"heap 16777216", limits).expect_err("it is too much");
        assert!(matches!(error, CallError::Overran(Overrun::Memory(limit)) if limit == most), "{error:?}");
        assert_eq!(text(pool.call(b"heap 4194304", limits).expect("an answer")), "4194304");
        assert_eq!(text(pool.call(b"heap 16777216", NONE).expect("an answer")), "16777216");
    }
}

#[test]
fn an_input_that_needs_more_memory_than_the_limit_is_an_overrun() {
    if no_kvm() {
        return;
    }
    let pool = Pool::builder(snapshot(&guest("handler_bytes"), &[])).build().expect("a pool");
    let input = vec![7; 4 << 20];
    let error = pool.call(&input, Limits::new().memory(1 << 20)).expect_err("it is too much");
    assert!(matches!(error, CallError::Overran(Overrun::Memory(_))), "{error:?}");
    assert!(pool.call(&input, NONE).expect("an answer").bytes == input);
}

#[test]
fn an_output_may_be_as_long_as_its_limit_and_no_longer() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let limits = Limits::new().output(100_000);
    assert_eq!(pool.call(b"output 100000", limits).expect("an answer").bytes.len(), 100_000);
    let error = pool.call(b"output 100001", limits).expect_err("it is too long");
    assert!(matches!(error, CallError::Overran(Overrun::Output(100_000))), "{error:?}");
}

#[test]
fn the_limit_on_output_counts_what_the_call_puts_out_alone() {
    if no_kvm() {
        return;
    }
    let mut bytes = vec![b'-'; 1000];
    pool_of(1).call_into(b"output 10", &mut bytes, Limits::new().output(10)).expect("an answer");
    assert_eq!(bytes.len(), 1010);
}

#[test]
fn what_a_guest_writes_to_standard_error_is_kept_up_to_64_kib() {
    if no_kvm() {
        return;
    }
    let input = [b"complain ".as_slice(), &vec![b'!'; 1 << 20]].concat();
    let output = pool_of(1).call(&input, NONE).expect("an answer");
    assert_eq!(output.diagnostics.len(), 64 << 10);
}
