//! Calls that do not block their caller.

use super::error::{CallError, HostFailure};
use super::exchange::{Exchange, Sink, Source};
use super::limits::Limits;
use super::workers::Workers;
use super::{Output, Pool};
use crate::calls::Requests;
use futures_channel::oneshot;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A call that is being made. When it is dropped, the call is cancelled.
#[derive(Debug)]
#[must_use = "a call that is dropped is cancelled"]
pub struct Call<T> {
    answer: Option<oneshot::Receiver<Result<T, CallError>>>,
    refused: Option<CallError>,
    requests: Arc<Requests>,
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
        if self.answer.is_some() {
            self.requests.cancel();
        }
    }
}

impl Pool {
    /// Makes a call on a thread of the pool's own. No runtime is needed; any may poll the future.
    pub fn call_async(&self, input: impl AsRef<[u8]> + Send + 'static, limits: Limits) -> Call<Output> {
        let (start, limits) = (Instant::now(), limits.or(self.shared.limits));
        self.submit(start, limits, false, move |shared, start, limits, requests| {
            let mut output = Vec::new();
            let exchange = Exchange::new(input.as_ref(), &mut output, limits.output, &shared.functions);
            let diagnostics = shared.call(start, limits, Some(requests), exchange)?;
            Ok(Output { bytes: output, diagnostics })
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
        let (start, limits) = (Instant::now(), limits.or(self.shared.limits));
        self.submit(start, limits, false, move |shared, start, limits, requests| {
            let mut output = Vec::new();
            let exchange =
                Exchange::streamed(&mut source, &mut sink, &mut output, limits.output, &shared.functions);
            shared.call(start, limits, Some(requests), exchange)
        })
    }

    /// Has a call made, or one that is `urgent`, as it has an instance already, go on.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        start: Instant,
        limits: Limits,
        urgent: bool,
        call: impl FnOnce(&super::Shared, Instant, &Limits, &Arc<Requests>) -> Result<T, CallError>
        + Send
        + 'static,
    ) -> Call<T> {
        let requests: Arc<Requests> = Arc::default();
        let (sender, answer) = oneshot::channel();
        let theirs = Arc::clone(&requests);
        let job = Box::new(move |shared: &super::Shared| {
            let result = if theirs.is_cancelled() {
                drop(call);
                Err(CallError::Cancelled)
            } else {
                call(shared, start, &limits, &theirs)
            };
            shared.counters.called(&result, start.elapsed());
            // Where nobody waits any more, the answer is dropped.
            let _ = sender.send(result);
        });
        match Workers::submit(&self.shared, job, urgent) {
            Ok(()) => Call { answer: Some(answer), refused: None, requests },
            Err(error) => Call { answer: None, refused: Some(HostFailure::Thread(error).into()), requests },
        }
    }
}
