//! How many instances there are when nobody calls.

use super::{NONE, obedient, wait_until};
use crate::support::no_kvm;
use futures_executor::block_on;
use std::sync::{Arc, Barrier};
use std::time::Duration;

#[test]
fn a_pool_fills_to_its_minimum_by_itself() {
    if no_kvm() {
        return;
    }
    let pool = obedient().min(5).build().expect("a pool");
    wait_until(|| pool.metrics().idle == 5);
    assert_eq!(pool.metrics().created, 5);
}

#[test]
fn a_pool_fills_again_after_a_crash() {
    if no_kvm() {
        return;
    }
    let pool = obedient().min(2).build().expect("a pool");
    wait_until(|| pool.metrics().idle == 2);
    pool.call(b"fault", NONE).expect_err("it crashes");
    wait_until(|| pool.metrics().idle == 2);
    assert_eq!(pool.metrics().instances, 2);
}

#[test]
fn a_pool_shrinks_to_its_minimum_when_nobody_uses_it() {
    if no_kvm() {
        return;
    }
    let pool = obedient().min(1).max(6).keep(Duration::ZERO).build().expect("a pool");
    let all = Barrier::new(6);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                all.wait();
                pool.call(b"heap 1000000", NONE).expect("an answer")
            });
        }
    });
    wait_until(|| pool.metrics().instances == 1);
    assert_eq!(pool.metrics().discarded, 0);
}

#[test]
fn instances_that_were_used_lately_are_used_again() {
    if no_kvm() {
        return;
    }
    let meeting = Arc::new(Barrier::new(4));
    let meet = move |_: &[u8]| {
        meeting.wait();
        Ok(Vec::new())
    };
    let pool = obedient().max(4).function_of_bytes("meet", meet).build().expect("a pool");
    for _ in 0..3 {
        let calls = [(); 4].map(|()| pool.call_async(b"host meet", NONE));
        for call in calls {
            block_on(call).expect("an answer");
        }
    }
    assert_eq!(pool.metrics().created, 4);
}
