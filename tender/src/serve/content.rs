//! Bodies of responses. With the last of it goes the entry in the log.

use super::admission::Place;
use super::handle::Record;
use super::refusal::Refusal;
use crate::pool::{Call, CallError};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The body of a response.
pub(super) struct Content {
    what: What,
    record: Option<Record>,
}

enum What {
    Whole(Option<Bytes>),
    Pieces(Box<Pieces>),
}

/// What a guest that still runs puts out.
pub(super) struct Pieces {
    /// Output that came with the head.
    pub(super) first: Option<Bytes>,
    pub(super) rest: mpsc::Receiver<Bytes>,
    pub(super) call: Option<Call<Vec<u8>>>,
    /// What hands the request's body on meanwhile.
    pub(super) _upload: Option<Upload>,
    pub(super) place: Place,
}

/// A task that goes with whoever has this.
pub(super) struct Upload(pub(super) JoinHandle<()>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Content {
    /// All of it at once.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Content {
        Content { what: What::Whole(Some(bytes.into())), record: None }
    }

    /// Words of the server's own.
    pub(super) fn text(words: &'static str) -> Content {
        Content::whole(Bytes::from_static(words.as_bytes()))
    }

    /// As it comes.
    pub(super) fn pieces(pieces: Pieces) -> Content {
        Content { what: What::Pieces(Box::new(pieces)), record: None }
    }

    /// The same, with an entry for the log once it is sent.
    pub(super) fn recorded(self, record: Record) -> Content {
        Content { record: Some(record), ..self }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let piece = match &mut this.what {
            What::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok),
            What::Pieces(pieces) => ready!(pieces.poll(context, this.record.as_mut())),
        };
        let last = matches!(this.what, What::Whole(_)) || piece.is_none();
        if let Some(record) = &mut this.record {
            record.sent(piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len));
            if last {
                record.complete();
            }
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.what, What::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.what {
            What::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            What::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        record: Option<&mut Record>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(piece) = ready!(self.rest.poll_recv(context)) {
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(call) = &mut self.call else { return Poll::Ready(None) };
        let result = ready!(Pin::new(call).poll(context));
        self.call = None;
        self.place.leave();
        if let Some(record) = record {
            match &result {
                Ok(diagnostics) => record.diagnostics(diagnostics),
                Err(error) => record.failed(error),
            }
        }
        match result {
            Ok(_) => Poll::Ready(None),
            // The head is gone already: that the body breaks off tells the client.
            Err(error) => Poll::Ready(Some(Err(broken(&error)))),
        }
    }
}

fn broken(error: &CallError) -> io::Error {
    io::Error::other(format!("{:?}", Refusal::of(error)))
}
