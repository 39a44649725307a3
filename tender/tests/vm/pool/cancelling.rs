//! Cancelling: a future that is dropped ends its call.

use super::{NONE, pool_of, text, wait_until};
use crate::lane::times;
use crate::support::no_kvm;
use coracle_tender::calls::Abort;
use coracle_tender::pool::{Begun, Limits, Sink, Source};
use futures_executor::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_call_whose_future_is_dropped_ends_whatever_its_guest_does() {
    if no_kvm() {
        return;
    }
    for input in [b"loop".as_slice(), b"call", b"wait", b"subscribed"] {
        let pool = pool_of(1);
        let call = pool.call_async(input, NONE);
        wait_until(|| pool.metrics().idle == 0);
        drop(call);
        wait_until(|| pool.metrics().cancelled == 1);
        assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    }
}

#[test]
fn a_call_whose_future_is_dropped_before_it_began_never_begins() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let first = pool.call_async(b"loop", NONE);
    wait_until(|| pool.metrics().idle == 0);
    let second = pool.call_async(b"fault", NONE);
    drop(second);
    drop(first);
    wait_until(|| pool.metrics().cancelled == 2);
    assert_eq!(pool.metrics().guest_failures, 0);
}

/// An input that tells when it is given up.
struct Kept(Arc<AtomicBool>);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        b"echo"
    }
}

impl Source for Kept {
    fn total(&self) -> Option<u64> {
        None
    }

    fn next(&mut self, _: Option<Instant>) -> Result<Vec<u8>, Abort> {
        Ok(Vec::new())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A sink for what never comes.
struct Nothing;

impl Sink for Nothing {
    fn take(&mut self, _: &mut Vec<u8>, _: Option<Instant>) -> Result<(), Abort> {
        Ok(())
    }
}

#[test]
fn a_call_that_waits_for_a_thread_gives_its_input_up_at_once_when_its_future_is_dropped() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    // There are no more threads than instances, and the one is busy until its future is dropped.
    let running = pool.call_async(b"loop", NONE);
    wait_until(|| pool.metrics().idle == 0);
    let given_up: [Arc<AtomicBool>; 4] = Default::default();
    let [first, second, third, fourth] = given_up.each_ref().map(|flag| Kept(Arc::clone(flag)));
    let is_given_up = || given_up.each_ref().map(|flag| flag.load(Ordering::SeqCst));
    let first = pool.call_async(first, NONE);
    let second = pool.call_streamed(second, Nothing, NONE);
    let Begun::Going(third) = pool.begin(third, NONE) else { panic!("there is no instance") };
    let third = third.finish();
    let fourth = pool.call_async(fourth, NONE);
    drop(second);
    assert_eq!(is_given_up(), [false, true, false, false]);
    drop(fourth);
    drop(third);
    assert_eq!(is_given_up(), [false, true, true, true]);
    assert_eq!(pool.metrics().cancelled, 3, "each of them is counted");
    drop(running);
    block_on(first).expect("an answer");
    assert_eq!(is_given_up(), [true; 4]);
}

#[test]
fn a_call_that_waits_for_an_instance_ends_when_its_future_is_dropped() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(2);
    // Both instances are used by threads of the callers': threads of the pool wait for one.
    let limits = Limits::new().time(Duration::from_secs(2));
    std::thread::scope(|scope| {
        let runaways = [(); 2].map(|()| scope.spawn(|| pool.call(b"wait", limits)));
        wait_until(|| pool.metrics().instances == 2 && pool.metrics().idle == 0);
        drop(pool.call_async(b"echo", NONE));
        wait_until(|| pool.metrics().cancelled == 1);
        assert_eq!(pool.metrics().overruns, 0, "it was not an instance that it waited for");
        for runaway in runaways {
            runaway.join().expect("no panic").expect_err("it has no end");
        }
    });
}

#[test]
fn a_future_may_be_dropped_at_any_moment() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(2);
    let mut ended = 0;
    let calls = times(300, 60);
    for pause in 0..calls {
        let call = pool.call_async(b"echo", NONE);
        for _ in 0..pause * 20 {
            std::hint::spin_loop();
        }
        drop(call);
        // Deadlines of later calls on the same threads are kept all the same.
        if pause % 30 == 0 {
            let limits = Limits::new().time(Duration::from_millis(5));
            block_on(pool.call_async(b"loop", limits)).expect_err("it has no end");
            ended += 1;
        }
    }
    wait_until(|| {
        let metrics = pool.metrics();
        metrics.answered + metrics.cancelled == u64::from(calls)
            && metrics.overruns + metrics.host_failures == ended
    });
}
