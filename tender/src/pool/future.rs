//! Calls that do not block their caller.

use super::error::{CallError, HostFailure};
use super::exchange::{Exchange, Sink, Source};
use super::limits::Limits;
use super::running::{Made, Task};
use super::shared::Shared;
use super::workers::{Job, Workers};
use super::{Output, Pool};
use crate::calls::Requests;
use futures_channel::oneshot;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

/// A call that is being made. When it is dropped, the call is cancelled.
#[derive(Debug)]
#[must_use = "a call that is dropped is cancelled"]
pub struct Call<T> {
    answer: Option<oneshot::Receiver<Result<T, CallError>>>,
    refused: Option<CallError>,
    requests: Arc<Requests>,
    shared: Weak<Shared>,
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(Err(HostFailure::Gone.into()));
        };
        let answer = match Pin::new(answer).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(answer) => answer,
        };
        self.answer = None;
        Poll::Ready(answer.unwrap_or_else(|oneshot::Canceled| Err(HostFailure::Gone.into())))
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        if self.answer.is_none() {
            return;
        }
        self.requests.cancel();
        // A child of a fork has none of the threads, and what they had locked is locked for ever.
        if let Some(shared) = self.shared.upgrade()
            && shared.check_process().is_ok()
        {
            // What waits for a thread ends here, so that what it was given is not kept any longer.
            if let Some(job) = shared.workers.take_out(&self.requests) {
                job.run(&shared);
            }
            shared.tell_of_cancelling();
        }
    }
}

impl Pool {
    /// Makes a call on a thread of the pool's own. No runtime is needed; any may poll the future. The call is
    /// under way when this returns. It ends when the future is dropped, whatever its guest does; a
    /// function of the host or a source that is waiting meanwhile is not disturbed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
    /// use coracle_tender::pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let snapshot = snapshot("handler-echo");
    /// let pool = Pool::builder(snapshot).build()?;
    /// let (one, two) = (pool.call_async("one", Limits::new()), pool.call_async("two", Limits::new()));
    /// futures_executor::block_on(async {
    ///     assert_eq!(two.await?.bytes, b"two");
    ///     assert_eq!(one.await?.bytes, b"one");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn call_async(&self, input: impl AsRef<[u8]> + Send + 'static, limits: Limits) -> Call<Output> {
        self.submit(Instant::now(), limits.or(self.shared.limits), false, move |shared, task| {
            let mut output = Vec::new();
            let exchange = Exchange::new(input.as_ref(), &mut output, task.limits.output, &shared.functions);
            let made = shared.call(&task, exchange);
            made.map(|diagnostics| Output { bytes: output, diagnostics })
        })
    }

    /// Makes a call whose input and output come and go piece by piece. The answer is what the guest wrote to
    /// standard error.
    pub fn call_streamed(
        &self,
        mut source: impl Source + 'static,
        mut sink: impl Sink + 'static,
        limits: Limits,
    ) -> Call<Vec<u8>> {
        self.submit(Instant::now(), limits.or(self.shared.limits), false, move |shared, task| {
            let mut output = Vec::new();
            let most = task.limits.output;
            let exchange = Exchange::streamed(&mut source, &mut sink, &mut output, most, &shared.functions);
            shared.call(&task, exchange)
        })
    }

    /// Has a call made, or one that is `urgent`, as it has begun and has an instance, go on.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        start: Instant,
        limits: Limits,
        urgent: bool,
        call: impl for<'s> FnOnce(&'s Shared, Task<'_>) -> Made<'s, T> + Send + 'static,
    ) -> Call<T> {
        let requests: Arc<Requests> = Arc::default();
        let shared = Arc::downgrade(&self.shared);
        if let Err(error) = self.shared.check_process() {
            return Call { answer: None, refused: Some(error.into()), requests, shared };
        }
        let (sender, answer) = oneshot::channel();
        let deadline = limits.deadline(start);
        let theirs = Arc::clone(&requests);
        let work = Box::new(move |shared: &Shared| {
            let now = Instant::now();
            let made = if theirs.is_cancelled() {
                Made::not(CallError::Cancelled)
            } else if !urgent && deadline.is_some_and(|deadline| start < deadline && deadline <= now) {
                Made::not(CallError::Busy(now - start))
            } else {
                let task = Task { start, limits, requests: Some(&theirs) };
                let call = AssertUnwindSafe(|| call(shared, task));
                catch_unwind(call).unwrap_or_else(|_| Made::not(HostFailure::Panicked))
            };
            let Made { result, instance } = made;
            shared.counters.called(&result, start.elapsed());
            // Where nobody waits any more, the answer is dropped.
            let _ = sender.send(result);
            // It is made clean when the answer is on its way.
            drop(instance);
        });
        let job = Job { since: Instant::now(), deadline, urgent, requests: Arc::clone(&requests), work };
        match Workers::submit(&self.shared, job) {
            Ok(()) => Call { answer: Some(answer), refused: None, requests, shared },
            Err(error) => {
                Call { answer: None, refused: Some(HostFailure::Thread(error).into()), requests, shared }
            }
        }
    }
}
