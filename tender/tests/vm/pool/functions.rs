//! Functions of the host that guests call.

use super::{LONG, NONE, obedient, snapshot, text};
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{CallError, Limits, Overrun, Pool, call_deadline};
use futures_executor::block_on;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_guest_calls_functions_of_the_host_with_their_types() {
    if no_kvm() {
        return;
    }
    let pool = Pool::builder(snapshot(&guest("host_functions"), &[]))
        .deadline(LONG)
        .function("word", |number: u32| if number == 7 { Ok("seven") } else { Err("too much") })
        .function("join", |(left, right): (String, String)| Ok::<_, String>(left + &right))
        .function("nothing", |()| Err::<(), _>("nothing comes of nothing"))
        .function_of_bytes("bytes", |bytes| Ok(bytes.repeat(3)))
        .build()
        .expect("a pool");
    let answers = text(pool.call(b"abc", NONE).expect("an answer"));
    let answers: Vec<&str> = answers.lines().collect();
    let [word, join, nothing, wrong, bytes] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(*word, "Ok(\"seven\")");
    assert_eq!(*join, "Ok(\"leftright\")");
    assert_eq!(*nothing, "Err(Failed(\"nothing comes of nothing\"))");
    assert!(wrong.starts_with("Err(Type("), "{wrong}");
    assert_eq!(*bytes, "Ok((9, Some(99)))");
}

#[test]
fn a_function_that_is_not_offered_is_not_there() {
    if no_kvm() {
        return;
    }
    let pool = obedient().function_of_bytes("one", |_| Ok(Vec::new())).build().expect("a pool");
    let error = pool.call(b"host other", NONE).expect_err("there is none");
    assert!(
        matches!(&error, CallError::Failed { reason, .. } if reason.contains("no such function")
        || reason.contains("does not offer")),
        "{error:?}"
    );
}

#[test]
fn a_function_that_panics_has_failed_and_the_guest_goes_on() {
    if no_kvm() {
        return;
    }
    let pool = obedient().function_of_bytes("panic", |_| panic!("for the test")).build().expect("a pool");
    let error = pool.call(b"host panic", NONE).expect_err("it fails");
    assert!(matches!(&error, CallError::Failed { reason, .. } if reason.contains("panicked")), "{error:?}");
    assert_eq!(pool.metrics().discarded, 0);
}

#[test]
fn a_reply_may_be_longer_than_the_first_buffer() {
    if no_kvm() {
        return;
    }
    let reply: Vec<u8> = (0..3_000_000_u32).map(|place| (place ^ place >> 11) as u8).collect();
    let theirs = reply.clone();
    let pool = obedient().function_of_bytes("long", move |_| Ok(theirs.clone())).build().expect("a pool");
    assert!(pool.call(b"host long", NONE).expect("an answer").bytes == reply);
}

#[test]
fn a_function_that_is_still_at_work_at_the_deadline_ends_the_call_when_it_returns() {
    if no_kvm() {
        return;
    }
    let sleep = |_: &[u8]| {
        std::thread::sleep(Duration::from_millis(100));
        Ok(Vec::new())
    };
    let pool = obedient().function_of_bytes("sleep", sleep).build().expect("a pool");
    let error = pool.call(b"host sleep", Limits::new().time(Duration::from_millis(20))).expect_err("late");
    assert!(matches!(error, CallError::Overran(Overrun::Time(_))), "{error:?}");
}

#[test]
fn a_function_is_not_called_where_its_reply_has_no_place_and_the_guest_goes_on() {
    if no_kvm() {
        return;
    }
    let count = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&count);
    let function = move |_: &[u8]| Ok(vec![b'0' + theirs.fetch_add(1, Ordering::Relaxed) as u8; 100]);
    let pool = obedient().max(1).function_of_bytes("count", function).build().expect("a pool");
    let answers = text(pool.call(b"host-refused count", NONE).expect("an answer"));
    let refused = ["Err(BadAddress)"; 6].join(" ");
    assert_eq!(answers, format!("{refused} Err(TooLong) Err(BadAddress)"));
    assert_eq!(count.load(Ordering::Relaxed), 0, "a call that is refused has no effect");
    assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    assert_eq!(text(pool.call(b"host count", NONE).expect("an answer")), "0".repeat(100));
    assert_eq!(pool.metrics().created, 1);
}

#[test]
fn a_function_sees_the_deadline_of_its_call() {
    if no_kvm() {
        return;
    }
    let seen = Arc::new(Mutex::new(None));
    let theirs = Arc::clone(&seen);
    let look = move |_: &[u8]| {
        *theirs.lock().expect("no panics") = call_deadline();
        Ok(Vec::new())
    };
    let pool = obedient().function_of_bytes("look", look).build().expect("a pool");
    let limit = Duration::from_secs(7);
    for call in [
        |pool: &Pool, limits| pool.call(b"host look", limits),
        |pool: &Pool, limits| block_on(pool.call_async(b"host look", limits)),
    ] {
        let before = Instant::now();
        call(&pool, Limits::new().time(limit)).expect("an answer");
        let seen = seen.lock().expect("no panics").take().expect("a deadline");
        assert!(before + limit <= seen && seen <= Instant::now() + limit);
        assert_eq!(call_deadline(), None, "there is none behind it");
    }
}

#[test]
fn a_function_has_the_guests_argument() {
    if no_kvm() {
        return;
    }
    let pool = obedient()
        .function_of_bytes("shout", |argument| Ok(argument.to_ascii_uppercase()))
        .build()
        .expect("a pool");
    assert_eq!(text(pool.call(b"host shout ahoy there", NONE).expect("an answer")), "AHOY THERE");
}
