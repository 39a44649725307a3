//! Calls within calls: a function of the host that calls a guest itself.

use super::{LONG, NONE, obedient, pool_of, text};
use crate::lane::delay;
use crate::library::Machine;
use crate::support::{guest, no_kvm};
use coracle_tender::instance::End;
use coracle_tender::pool::{CallError, Limits, Overrun, Pool, call_deadline};
use futures_executor::block_on;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

#[test]
fn a_function_of_the_host_may_make_a_call_itself() {
    if no_kvm() {
        return;
    }
    let inner = pool_of(1);
    let call = move |input: &[u8]| Ok(inner.call(input, NONE).map_err(|error| error.to_string())?.bytes);
    let outer = obedient().function_of_bytes("call", call).build().expect("a pool");
    assert_eq!(text(outer.call(b"host call echo inside", NONE).expect("an answer")), "inside");
}

/// A pool's handle for its own functions. While it is there, so is the pool.
type Own = Arc<Mutex<Option<Pool>>>;

/// A pool of one instance whose function `again` makes a call in the same pool, with so much time or what the
/// outer call has left; and what comes of the inner calls.
fn exhausted_by_itself(time: Option<Duration>) -> (Pool, Own, mpsc::Receiver<CallError>) {
    let own = Own::default();
    let (theirs, (send, errors)) = (Arc::clone(&own), mpsc::channel());
    let send = Mutex::new(send);
    let again = move |_: &[u8]| {
        let left = || call_deadline().expect("a deadline").saturating_duration_since(Instant::now());
        let limits = Limits::new().time(time.unwrap_or_else(left));
        let pool = theirs.lock().expect("no panics").clone().expect("the pool");
        let error = pool.call(b"echo", limits).expect_err("no instance is free");
        let words = error.to_string();
        send.lock().expect("no panics").send(error).expect("it is looked at");
        Err(words)
    };
    let pool = obedient().max(1).function_of_bytes("again", again).build().expect("a pool");
    *own.lock().expect("no panics") = Some(pool.clone());
    (pool, own, errors)
}

#[test]
fn a_call_within_the_call_that_waits_for_the_outer_ones_instance_ends_at_its_deadline() {
    if no_kvm() {
        return;
    }
    let (pool, own, errors) = exhausted_by_itself(Some(Duration::from_millis(30)));
    let begin = Instant::now();
    // The outer call has time left, and learns of it.
    let error = pool.call(b"host again", NONE).expect_err("it fails");
    assert!(matches!(&error, CallError::Failed { reason, .. } if reason.contains("are in use")), "{error:?}");
    assert!(matches!(errors.recv_timeout(LONG), Ok(CallError::Busy(_))));
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    own.lock().expect("no panics").take();
}

#[test]
fn a_call_within_the_call_with_the_outer_ones_time_ends_with_it() {
    if no_kvm() {
        return;
    }
    let (pool, own, errors) = exhausted_by_itself(None);
    // Enough for the guest to get as far as its call.
    let (limit, begin) = (delay(Duration::from_millis(100)), Instant::now());
    for call in [
        |pool: &Pool, limits| pool.call(b"host again", limits),
        |pool: &Pool, limits| block_on(pool.call_async(b"host again", limits)),
    ] {
        let error = call(&pool, Limits::new().time(limit)).expect_err("its time is up");
        assert!(matches!(error, CallError::Overran(Overrun::Time(time)) if time == limit), "{error:?}");
        assert!(matches!(errors.recv_timeout(LONG), Ok(CallError::Busy(_))));
    }
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    own.lock().expect("no panics").take();
}

#[test]
fn a_deadline_is_kept_after_a_call_within_the_call() {
    if no_kvm() {
        return;
    }
    let inner = pool_of(1);
    let call = move |_: &[u8]| {
        let end = inner.call(b"loop", Limits::new().time(Duration::from_millis(40)));
        assert!(matches!(end, Err(CallError::Overran(_))));
        // It would set the timer to a time after the outer call's.
        inner.call(b"echo", Limits::new().time(LONG)).map(|output| output.bytes).map_err(|e| e.to_string())
    };
    let outer = obedient().function_of_bytes("call", call).build().expect("a pool");
    for limit in [20, 60] {
        let limit = Duration::from_millis(limit);
        let begin = Instant::now();
        // The guest of the outer call runs on when the function has returned.
        let error = outer.call(b"host-and-loop call", Limits::new().time(limit)).expect_err("it has no end");
        assert!(matches!(error, CallError::Overran(Overrun::Time(_))), "{error:?}");
        assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    }
}

#[test]
fn a_deadline_is_kept_on_a_thread_that_has_run_a_guest_in_another_way() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let machine = Machine::open(guest("sum"));
    // Sets the timer to a time before the last call's, which is never reached.
    pool.call(b"echo", Limits::new().time(Duration::from_millis(200))).expect("an answer");
    let (end, _) = machine.run(&mut machine.boot(&["1"]), Some(LONG));
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    let begin = Instant::now();
    pool.call(b"loop", Limits::new().time(Duration::from_millis(400))).expect_err("it has no end");
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
}
