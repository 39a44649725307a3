//! Calls that begin on their caller's thread, and go on elsewhere.

use super::{LONG, NONE, obedient, pool_of, snapshot_with, text, wait_until};
use crate::lane::beyond_bochs;
use crate::library::alone;
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{Begun, CallError, Going, Limits, Output, Overrun, Pool};
use futures_executor::block_on;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Begins a call that does not end in its first turn.
fn paused(pool: &Pool, input: &'static [u8], limits: Limits) -> Going<&'static [u8]> {
    match pool.begin(input, limits) {
        Begun::Ended(result) => panic!("it has ended: {result:?}"),
        Begun::Going(going) => going,
    }
}

/// A call's answer, however long it takes.
fn answer(begun: Begun<&'static [u8]>) -> Result<Output, CallError> {
    match begun {
        Begun::Ended(result) => result,
        Begun::Going(going) => block_on(going.finish()),
    }
}

#[test]
fn calls_that_begin_at_once_answer_as_others_do() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    for _ in 0..100 {
        assert_eq!(text(answer(pool.begin(b"calls", NONE)).expect("an answer")), "1");
    }
    let failed = answer(pool.begin(b"fail so", NONE)).expect_err("it fails");
    assert!(matches!(failed, CallError::Failed { reason, .. } if reason == "so"));
    assert!(matches!(answer(pool.begin(b"fault", NONE)), Err(CallError::Crashed { .. })));
    assert_eq!(text(answer(pool.begin(b"calls", NONE)).expect("an answer")), "1");
    let metrics = pool.metrics();
    assert_eq!((metrics.answered, metrics.guest_failures), (101, 2));
}

#[test]
fn a_call_that_is_paused_ends_at_its_deadline() {
    if no_kvm() {
        return;
    }
    let limits = Limits::new().time(Duration::from_millis(50));
    for input in [b"loop".as_slice(), b"call", b"wait", b"subscribed"] {
        let pool = pool_of(1);
        let ended = block_on(paused(&pool, input, limits).finish());
        assert!(matches!(ended, Err(CallError::Overran(Overrun::Time(_)))), "{ended:?}");
        assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");

        // It has begun: that it has had no thread meanwhile is no reason to call the pool busy.
        thread::sleep(Duration::from_millis(50));
        let late = paused(&pool, input, limits);
        thread::sleep(Duration::from_millis(100));
        let ended = block_on(late.finish());
        assert!(matches!(ended, Err(CallError::Overran(Overrun::Time(_)))), "{ended:?}");
    }
}

#[test]
fn a_call_that_is_paused_is_cancelled_with_its_future() {
    if no_kvm() {
        return;
    }
    for input in [b"loop".as_slice(), b"call", b"wait", b"subscribed"] {
        let pool = pool_of(1);
        let going = paused(&pool, input, NONE);
        assert_eq!(pool.metrics().idle, 0);
        drop(going.finish());
        wait_until(|| pool.metrics().cancelled == 1);
        assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    }
}

#[test]
fn a_call_that_is_paused_and_dropped_leaves_its_place() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    drop(paused(&pool, b"loop", NONE));
    assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    assert_eq!(pool.metrics().discarded, 1);
}

/// How long a call that does so holds up the thread that begins it, where nothing else has the CPU. It answers
/// so many bytes.
fn holds_up(input: &'static [u8], answered: usize) -> Duration {
    let snapshot = snapshot_with(&guest("on_command"), &[], 256 << 20);
    let times = (0..5).map(|_| {
        // A further call of one pool would not begin at once.
        let pool = Pool::builder(Arc::clone(&snapshot)).max(1).deadline(LONG).build().expect("a pool");
        let begin = Instant::now();
        let going = paused(&pool, input, NONE);
        let held_up = begin.elapsed();
        assert_eq!(block_on(going.finish()).expect("an answer").bytes.len(), answered);
        held_up
    });
    times.min().expect("five of them")
}

#[test]
fn what_takes_the_tender_long_is_left_to_a_thread_of_the_pool() {
    if no_kvm() || beyond_bochs("moves 64 MiB in minutes") {
        return;
    }
    // Memory that is given back in such amounts holds up other tests of the process.
    alone("pool::turns::what_takes_the_tender_long_is_left_to_a_thread_of_the_pool", || {
        for (input, answered) in [(b"respond 67108864".as_slice(), 64 << 20), (b"draw 67108864", 0)] {
            let time = holds_up(input, answered);
            assert!(time < Duration::from_millis(5), "{}: {time:?}", String::from_utf8_lossy(input));
        }
    });
}

#[test]
fn a_function_of_the_host_is_called_on_a_thread_of_the_pool() {
    if no_kvm() {
        return;
    }
    let name = |_: &[u8]| Ok(thread::current().name().unwrap_or_default().as_bytes().to_vec());
    let pool = obedient().function_of_bytes("thread", name).build().expect("a pool");
    let going = paused(&pool, b"host thread", NONE);
    assert_eq!(text(block_on(going.finish()).expect("an answer")), "coracle-worker");
}

#[test]
fn calls_that_wait_for_the_instance_of_one_that_is_paused_do_not_take_its_thread() {
    if no_kvm() {
        return;
    }
    let twice = |argument: &[u8]| Ok(argument.repeat(2));
    let pool = obedient().max(1).function_of_bytes("twice", twice).build().expect("a pool");
    let going = paused(&pool, b"host twice ab", NONE);
    let others = [(); 3].map(|()| pool.call_async(b"calls", NONE));
    // Time for the others to have all threads that they get.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(text(block_on(going.finish()).expect("an answer")), "abab");
    for other in others {
        assert_eq!(text(block_on(other).expect("an answer")), "1");
    }
}

#[test]
fn a_call_that_is_paused_outlives_the_pools_handles() {
    if no_kvm() {
        return;
    }
    let twice = |argument: &[u8]| Ok(argument.repeat(2));
    let pool = obedient().max(1).function_of_bytes("twice", twice).build().expect("a pool");
    let call = paused(&pool, b"host twice ab", Limits::new().time(LONG)).finish();
    drop(pool);
    assert_eq!(text(block_on(call).expect("an answer")), "abab");
}
