//! Bodies between a connection, which its reactor polls, and the thread that makes the call, which waits.

use super::refusal::Refusal;
use crate::calls::Abort;
use crate::pool::{Sink, Source};
use hyper::body::Bytes;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;
use tokio::sync::mpsc;

/// How many pieces wait in a channel before its writer does.
const PIECES: usize = 4;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, until `deadline` at most.
fn wait<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                thread::park_timeout(left);
            }
        }
    }
}

/// A way for output.
pub(super) fn outward() -> (Outward, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (Outward(sender), receiver)
}

/// Where a guest's output goes.
pub(super) struct Outward(mpsc::Sender<Bytes>);

impl Sink for Outward {
    fn take(&mut self, output: &mut Vec<u8>, deadline: Option<Instant>) -> Result<(), Abort> {
        if output.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(output));
        match wait(self.0.send(piece), deadline) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Abort::Gone),
            None => Err(Abort::Late),
        }
    }
}

/// A way for input, of which `head` comes first and `total` bytes in all, where that is known. That it did not come
/// in time is left in `fate`.
pub(super) fn inward(
    head: Bytes,
    total: Option<u64>,
    fate: Arc<OnceLock<Refusal>>,
) -> (mpsc::Sender<Piece>, Inward) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (sender, Inward { head: Some(head), total, receiver, fate })
}

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Some of its bytes.
    Bytes(Bytes),
    /// There are no more. Without it, the body broke off.
    End,
}

/// Where a guest's input comes from.
pub(super) struct Inward {
    head: Option<Bytes>,
    total: Option<u64>,
    receiver: mpsc::Receiver<Piece>,
    fate: Arc<OnceLock<Refusal>>,
}

impl Source for Inward {
    fn total(&self) -> Option<u64> {
        self.total
    }

    fn next(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Abort> {
        if let Some(head) = self.head.take().filter(|head| !head.is_empty()) {
            return Ok(head.into());
        }
        match wait(self.receiver.recv(), deadline) {
            Some(Some(Piece::Bytes(bytes))) => Ok(bytes.into()),
            Some(Some(Piece::End)) => {
                // Who asks again is answered the same.
                self.receiver.close();
                self.head = None;
                let (sender, receiver) = mpsc::channel(1);
                let _ = sender.try_send(Piece::End);
                self.receiver = receiver;
                Ok(Vec::new())
            }
            Some(None) => Err(Abort::Gone),
            None => {
                let _ = self.fate.set(Refusal::Slow);
                Err(Abort::Late)
            }
        }
    }
}

/// Output that is kept until it is complete.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<std::sync::Mutex<Vec<u8>>>);

impl Kept {
    /// What there is.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Sink for Kept {
    fn take(&mut self, output: &mut Vec<u8>, _: Option<Instant>) -> Result<(), Abort> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(output);
        Ok(())
    }
}
