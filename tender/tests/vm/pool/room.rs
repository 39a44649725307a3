//! Room: what happens when all instances are in use.

use super::{LONG, NONE, obedient, pool_of, text, wait_until};
use crate::support::no_kvm;
use coracle_tender::pool::{CallError, Fault, HostFailure, Limits, Overrun, Pool};
use futures_executor::block_on;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SHORT: Limits = Limits::new().time(Duration::from_millis(50));

/// A function for guests to call, that returns when it is let go.
struct Gate {
    came: mpsc::Sender<()>,
    opened: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    /// One, what lets it go, and what tells that it was called.
    fn new() -> (Gate, mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (open, opened) = mpsc::channel();
        let (came, comes) = mpsc::channel();
        (Gate { came, opened: Mutex::new(opened) }, open, comes)
    }

    fn wait(&self) -> Result<Vec<u8>, String> {
        let _ = self.came.send(());
        let _ = self.opened.lock().expect("no panics").recv();
        Ok(b"let go".to_vec())
    }
}

/// A pool of one instance, whose function `wait` this is.
fn pool_with(gate: Gate) -> Pool {
    obedient().max(1).function_of_bytes("wait", move |_| gate.wait()).build().expect("a pool")
}

#[test]
fn a_call_for_which_no_instance_comes_free_in_time_is_told_that_all_are_busy() {
    if no_kvm() {
        return;
    }
    let (gate, open, comes) = Gate::new();
    let pool = pool_with(gate);
    let held = pool.call_async(b"host wait", NONE);
    comes.recv().expect("it is in use");
    for error in [
        pool.call(b"echo", SHORT).expect_err("none is free"),
        block_on(pool.call_async(b"echo", SHORT)).expect_err("none is free"),
    ] {
        assert!(matches!(error, CallError::Busy(_)), "{error:?}");
        assert_eq!(error.fault(), Fault::Host);
    }
    open.send(()).expect("it waits");
    assert_eq!(text(block_on(held).expect("an answer")), "let go");
    assert_eq!(pool.metrics().host_failures, 2);
}

#[test]
fn a_caller_that_waits_gets_the_instance_that_comes_free() {
    if no_kvm() {
        return;
    }
    let (gate, open, comes) = Gate::new();
    let pool = pool_with(gate);
    let held = pool.call_async(b"host wait", NONE);
    comes.recv().expect("it is in use");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| pool.call(b"calls", NONE))).collect();
        open.send(()).expect("it waits");
        for call in waiting {
            assert_eq!(text(call.join().expect("no panic").expect("an answer")), "1");
        }
    });
    assert_eq!(text(block_on(held).expect("an answer")), "let go");
    assert_eq!(pool.metrics().created, 1);
}

#[test]
fn a_caller_that_waits_gets_a_new_instance_in_place_of_one_that_crashed() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|number| {
                let input: &[u8] = if number % 2 == 0 { b"fault" } else { b"calls" };
                let pool = &pool;
                (number, scope.spawn(move || pool.call(input, NONE)))
            })
            .collect();
        for (number, call) in calls {
            let result = call.join().expect("no panic");
            match result {
                Ok(output) => assert_eq!(text(output), "1"),
                Err(error) => assert!(number % 2 == 0 && error.fault() == Fault::Guest, "{error:?}"),
            }
        }
    });
    let metrics = pool.metrics();
    assert_eq!((metrics.discarded, metrics.answered), (4, 4));
}

#[test]
fn a_limit_of_no_time_is_an_overrun_at_once() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let limits = Limits::new().time(Duration::ZERO);
    for error in [
        pool.call(b"echo", limits).expect_err("no time"),
        block_on(pool.call_async(b"echo", limits)).expect_err("no time"),
    ] {
        assert!(matches!(error, CallError::Overran(Overrun::Time(_))), "{error:?}");
    }
}

#[test]
fn a_pool_that_is_dropped_ends_calls_that_wait_and_lets_those_in_flight_end() {
    if no_kvm() {
        return;
    }
    let (gate, open, comes) = Gate::new();
    let pool = pool_with(gate);
    let held = pool.call_async(b"host wait", NONE);
    comes.recv().expect("it is in use");
    let waiting = pool.call_async(b"echo", NONE);
    let begin = Instant::now();
    drop(pool);
    let error = block_on(waiting).expect_err("the pool is gone");
    assert!(matches!(error, CallError::Host(HostFailure::Gone)), "{error:?}");
    assert!(begin.elapsed() < LONG);
    open.send(()).expect("it waits");
    assert_eq!(text(block_on(held).expect("an answer")), "let go");
}

#[test]
fn the_threads_of_a_pool_end_with_its_last_handle() {
    if no_kvm() {
        return;
    }
    crate::library::alone("pool::room::the_threads_of_a_pool_end_with_its_last_handle", || {
        let before = crate::holdings::threads();
        let pool = pool_of(4);
        let other = pool.clone();
        let calls: Vec<_> = (0..8).map(|_| pool.call_async(b"echo", NONE)).collect();
        for call in calls {
            block_on(call).expect("an answer");
        }
        drop(pool);
        block_on(other.call_async(b"echo", NONE)).expect("an answer");
        drop(other);
        wait_until(|| crate::holdings::threads() <= before);
    });
}

#[test]
fn a_snapshot_outlives_the_pools_that_are_made_of_it() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let snapshot = Arc::clone(pool.snapshot());
    drop(pool);
    let pool = Pool::builder(snapshot).build().expect("a pool");
    assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
}
