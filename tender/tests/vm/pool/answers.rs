//! Answers: each from a machine that no other call has touched.

use super::{LONG, NONE, obedient, pool_of, snapshot, text};
use crate::library::alone;
use crate::support::{guest, no_kvm};
use coracle_tender::pool::{Call, CallError, Limits, Output, Pool};
use coracle_tender::snapshot::Snapshot;
use futures_executor::block_on;
use std::collections::BTreeSet;
use std::sync::Mutex;

#[test]
fn a_call_is_answered_with_the_guests_output() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    assert_eq!(text(pool.call(b"echo Hello", NONE).expect("an answer")), "Hello");
    assert_eq!(text(block_on(pool.call_async(b"echo Hello", NONE)).expect("an answer")), "Hello");
    let mut bytes = b"before, ".to_vec();
    pool.call_into(b"echo after", &mut bytes, NONE).expect("an answer");
    assert_eq!(bytes, b"before, after");
}

#[test]
fn inputs_and_outputs_of_any_length_pass() {
    if no_kvm() {
        return;
    }
    let pool = Pool::builder(snapshot(&guest("handler_bytes"), &[])).deadline(LONG).build().expect("a pool");
    for length in [0, 1, 65_535, 65_536, 65_537, 3 << 20, 1, 0] {
        let mut bytes: Vec<u8> = (0..length).map(|place: u32| (place ^ place >> 9) as u8).collect();
        let output = pool.call(&bytes, NONE).expect("an answer");
        bytes.reverse();
        assert!(output.bytes == bytes, "{length}: {} bytes", output.bytes.len());
    }
}

#[test]
fn no_call_finds_anything_of_the_one_before() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    for _ in 0..50 {
        assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
    }
    assert_eq!(pool.metrics().created, 1, "it was one machine all the time");
}

#[test]
fn each_call_has_an_identity_of_its_own() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(2);
    let identities: BTreeSet<Vec<u8>> =
        (0..200).map(|_| pool.call(b"identity", NONE).expect("an answer").bytes).collect();
    assert_eq!(identities.len(), 200);
}

#[test]
fn an_ordinary_program_is_answered_with_what_it_prints() {
    if no_kvm() {
        return;
    }
    let pool = Pool::builder(snapshot(&guest("sum"), &["1"])).deadline(LONG).build().expect("a pool");
    let first = text(pool.call(b"", NONE).expect("an answer"));
    assert!(first.trim().parse::<u64>().is_ok(), "{first}");
    assert_eq!(text(pool.call(b"", NONE).expect("an answer")), first);
}

#[test]
fn what_a_guest_writes_to_standard_error_comes_beside_the_answer() {
    if no_kvm() {
        return;
    }
    let output = pool_of(1).call(b"complain it creaks", NONE).expect("an answer");
    assert_eq!((output.bytes, output.diagnostics), (b"and went on".to_vec(), b"it creaks\n".to_vec()));
}

#[test]
fn log_records_go_where_the_pool_says() {
    if no_kvm() {
        return;
    }
    static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let log = |entry: &coracle_tender::calls::LogEntry<'_>| {
        RECORDS.lock().expect("no panics").push(entry.message.to_string());
    };
    let pool = obedient().log(log).build().expect("a pool");
    pool.call(b"log hear me", NONE).expect("an answer");
    assert_eq!(*RECORDS.lock().expect("no panics"), ["hear me"]);
}

#[test]
fn many_threads_are_answered_right_at_once() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(3);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..50 {
                    let word = format!("{thread} {number}");
                    let input = format!("echo {word}");
                    let output = if number % 2 == 0 {
                        pool.call(input.as_bytes(), NONE)
                    } else {
                        block_on(pool.call_async(input, NONE))
                    };
                    assert_eq!(text(output.expect("an answer")), word);
                }
            });
        }
    });
    let metrics = pool.metrics();
    assert_eq!((metrics.answered, metrics.discarded), (600, 0));
    assert!(metrics.created <= 3, "{metrics:?}");
}

#[test]
fn metrics_count_what_came_of_calls() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let before = pool.metrics();
    assert_eq!((before.created, before.instances, before.idle), (1, 1, 1));
    pool.call(b"echo", NONE).expect("an answer");
    pool.call(b"fail", NONE).expect_err("it fails");
    pool.call(b"panic", NONE).expect_err("it crashes");
    pool.call(b"output 9", Limits::new().output(8)).expect_err("it overruns");
    let after = pool.metrics();
    let counts = (after.answered, after.guest_failures, after.overruns, after.host_failures, after.cancelled);
    assert_eq!(counts, (1, 2, 1, 0, 0));
    assert_eq!(after.discarded, 2);
    assert!(after.call_ns > 0 && after.pages_copied > 0, "{after:?}");
}

#[test]
fn pools_calls_and_errors_go_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + Unpin + 'static>() {}
    shared::<Pool>();
    shared::<Snapshot>();
    shared::<CallError>();
    shared::<Output>();
    sent::<Call<Output>>();
}

#[test]
fn a_response_of_64_mib_is_an_answer_and_a_longer_one_is_refused_as_too_long() {
    if no_kvm() {
        return;
    }
    // Memory in such amounts holds up other tests of the process.
    alone("pool::answers::a_response_of_64_mib_is_an_answer_and_a_longer_one_is_refused_as_too_long", || {
        let pool = pool_of(1);
        let most = 64 << 20;
        let answer = pool.call(format!("respond {most}").as_bytes(), NONE).expect("an answer").bytes;
        assert!(answer.len() == most && answer.iter().all(|byte| *byte == b'x'));
        // The guest goes on, and gives the refusal as its answer.
        let answer = pool.call(format!("respond {}", most + 1).as_bytes(), NONE).expect("an answer");
        assert_eq!(text(answer), "TooLong");
        assert_eq!(text(pool.call(b"calls", NONE).expect("an answer")), "1");
        assert_eq!(pool.metrics().created, 1);
    });
}
