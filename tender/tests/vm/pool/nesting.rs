//! Calls within calls: a function of the host that calls a guest itself.

use super::{LONG, NONE, obedient, pool_of, text};
use crate::library::Machine;
use crate::support::{guest, no_kvm};
use coracle_tender::instance::End;
use coracle_tender::pool::{CallError, Limits, Overrun};
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
