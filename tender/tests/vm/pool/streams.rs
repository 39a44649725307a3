//! Streams: input and output that come and go piece by piece.

use super::{LONG, NONE, snapshot, wait_until};
use crate::lane::times;
use crate::support::{guest, no_kvm};
use coracle_tender::calls::Abort;
use coracle_tender::pool::{CallError, Limits, Overrun, Pool, Sink, Source};
use futures_executor::block_on;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The guest that answers requests, each path in another way.
fn http() -> Pool {
    Pool::builder(snapshot(&guest("handler_http"), &[])).max(2).deadline(LONG).build().expect("a pool")
}

/// A request, and so many pieces of a mebibyte after it.
struct Request {
    head: Option<Vec<u8>>,
    pieces: u64,
    total: Option<u64>,
}

const PIECE: usize = 1 << 20;

fn request(path: &str, pieces: u64) -> Request {
    let head = format!("POST {path} HTTP/1.1\r\n\r\n").into_bytes();
    let total = Some(head.len() as u64 + pieces * PIECE as u64);
    Request { head: Some(head), pieces, total }
}

impl Source for Request {
    fn total(&self) -> Option<u64> {
        self.total
    }

    fn next(&mut self, _: Option<Instant>) -> Result<Vec<u8>, Abort> {
        if let Some(head) = self.head.take() {
            return Ok(head);
        }
        if self.pieces == 0 {
            return Ok(Vec::new());
        }
        self.pieces -= 1;
        Ok(vec![b'a'; PIECE])
    }
}

/// Counts the bytes that come.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Sink for Count {
    fn take(&mut self, output: &mut Vec<u8>, _: Option<Instant>) -> Result<(), Abort> {
        self.0.fetch_add(output.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Keeps what comes.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Vec<u8>>>);

impl Sink for Keep {
    fn take(&mut self, output: &mut Vec<u8>, _: Option<Instant>) -> Result<(), Abort> {
        self.0.lock().expect("no panics").append(output);
        Ok(())
    }
}

/// Wants so many pieces.
struct Few(u32);

impl Sink for Few {
    fn take(&mut self, _: &mut Vec<u8>, _: Option<Instant>) -> Result<(), Abort> {
        self.0 = self.0.checked_sub(1).ok_or(Abort::Gone)?;
        Ok(())
    }
}

/// What another thread sends.
struct Sent(Receiver<Vec<u8>>);

impl Source for Sent {
    fn total(&self) -> Option<u64> {
        None
    }

    fn next(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Abort> {
        let left = deadline.map_or(LONG, |deadline| deadline.saturating_duration_since(Instant::now()));
        match self.0.recv_timeout(left) {
            Ok(piece) => Ok(piece),
            Err(RecvTimeoutError::Timeout) => Err(Abort::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Abort::Gone),
        }
    }
}

#[test]
fn a_body_larger_than_the_memory_goes_through_both_ways() {
    if no_kvm() {
        return;
    }
    let (pool, count) = (http(), Count::default());
    let limits = Limits::new().output(1 << 40);
    let pieces = u64::from(times(200, 70));
    block_on(pool.call_streamed(request("/pieces", pieces), count.clone(), limits)).expect("an answer");
    let bytes = count.0.load(Ordering::Relaxed);
    assert!((pieces << 20..(pieces << 20) + 1000).contains(&bytes), "{bytes}");
}

#[test]
fn output_arrives_while_input_is_still_to_come() {
    if no_kvm() {
        return;
    }
    let (pool, keep) = (http(), Keep::default());
    let (send, pieces) = mpsc::channel();
    let call = pool.call_streamed(Sent(pieces), keep.clone(), NONE);
    send.send(b"POST /pieces HTTP/1.1\r\n\r\nfirst".to_vec()).expect("it is read");
    let has = |text: &str| String::from_utf8_lossy(&keep.0.lock().expect("no panics")).contains(text);
    wait_until(|| has("FIRST"));
    send.send(b"second".to_vec()).expect("it is read");
    wait_until(|| has("SECOND"));
    send.send(Vec::new()).expect("it is read");
    block_on(call).expect("an answer");
}

#[test]
fn a_source_that_ends_before_the_length_that_it_named_is_not_taken_for_whole() {
    if no_kvm() {
        return;
    }
    let pool = http();
    let short = Request { total: Some(3 << 20), ..request("/count", 1) };
    let error = block_on(pool.call_streamed(short, Keep::default(), NONE)).expect_err("it is not whole");
    assert!(matches!(error, CallError::Cancelled), "{error:?}");
}

#[test]
fn a_source_that_is_gone_ends_the_call() {
    if no_kvm() {
        return;
    }
    let pool = http();
    let (send, pieces) = mpsc::channel();
    send.send(b"POST /count HTTP/1.1\r\n\r\nfirst".to_vec()).expect("it is kept");
    drop(send);
    let error = block_on(pool.call_streamed(Sent(pieces), Keep::default(), NONE)).expect_err("it is gone");
    assert!(matches!(error, CallError::Cancelled), "{error:?}");
}

#[test]
fn a_sink_that_is_gone_ends_the_call() {
    if no_kvm() {
        return;
    }
    let pool = http();
    for wanted in [0, 1, 5] {
        let result = block_on(pool.call_streamed(request("/pieces", 200), Few(wanted), NONE));
        assert!(matches!(result, Err(CallError::Cancelled)), "{wanted}: {result:?}");
    }
}

#[test]
fn a_source_that_is_waited_for_ends_the_call_at_the_deadline() {
    if no_kvm() {
        return;
    }
    let pool = http();
    let (_send, pieces) = mpsc::channel();
    let limits = Limits::new().time(Duration::from_millis(30));
    let error = block_on(pool.call_streamed(Sent(pieces), Keep::default(), limits)).expect_err("it is late");
    assert!(matches!(error, CallError::Overran(Overrun::Time(_))), "{error:?}");
}

#[test]
fn the_limit_on_output_holds_for_streams() {
    if no_kvm() {
        return;
    }
    let (pool, count) = (http(), Count::default());
    let limits = Limits::new().output(5 << 20);
    let error = block_on(pool.call_streamed(request("/pieces", 20), count.clone(), limits));
    assert!(matches!(error, Err(CallError::Overran(Overrun::Output(_)))), "{error:?}");
    assert!(count.0.load(Ordering::Relaxed) <= 5 << 20);
}

#[test]
fn a_source_that_panics_ends_the_call_alone() {
    if no_kvm() {
        return;
    }
    struct Panics;
    impl Source for Panics {
        fn total(&self) -> Option<u64> {
            None
        }
        fn next(&mut self, _: Option<Instant>) -> Result<Vec<u8>, Abort> {
            panic!("for the test")
        }
    }
    let pool = http();
    for _ in 0..5 {
        let error = block_on(pool.call_streamed(Panics, Keep::default(), NONE)).expect_err("it panics");
        assert!(matches!(error, CallError::Host(_)), "{error:?}");
    }
    block_on(pool.call_streamed(request("/count", 1), Keep::default(), NONE)).expect("an answer");
}
