//! Responses of the server itself. What a guest said or how it ended is in the log, never in these.

use super::content::Content;
use crate::pool::{CallError, Overrun};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// Why the server answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request names no host, several, or what is none.
    NoHost,
    /// No route leads anywhere.
    NoRoute,
    /// The body is longer than it may be.
    TooLarge,
    /// The body broke off.
    Broken,
    /// The client took too long to send it.
    Slow,
    /// The client has too many requests already.
    Client,
    /// As many calls as there may be are made, and as many as may wait do.
    Full,
    /// No instance was free in time.
    Waited,
    /// There is no fresh layout, and an old one is not to be used.
    Stale,
    /// The guest failed, or answered what is no response.
    Guest,
    /// The guest's time is up.
    Late,
    /// The host could not.
    Host,
}

impl Refusal {
    /// What a call's failure means for the client.
    pub(super) fn of(error: &CallError) -> Refusal {
        match error {
            CallError::Overran(Overrun::Time(_)) => Refusal::Late,
            CallError::Busy(_) => Refusal::Waited,
            CallError::Host(_) => Refusal::Host,
            CallError::Cancelled => Refusal::Broken,
            CallError::Failed { .. }
            | CallError::Exited { .. }
            | CallError::Crashed { .. }
            | CallError::Overran(_) => Refusal::Guest,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Refusal::NoHost | Refusal::Broken => StatusCode::BAD_REQUEST,
            Refusal::NoRoute => StatusCode::NOT_FOUND,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Client => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Full | Refusal::Waited | Refusal::Stale => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Guest => StatusCode::BAD_GATEWAY,
            Refusal::Late => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Host => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Refusal::NoHost => "a request has one Host field, which names a host\n",
            Refusal::NoRoute => "no function has this route\n",
            Refusal::TooLarge => "the body is longer than this function takes\n",
            Refusal::Broken => "the body broke off\n",
            Refusal::Slow => "the body took too long to arrive\n",
            Refusal::Client => "too many requests of this client at once: try again later\n",
            Refusal::Full => "too many requests wait for this function: try again later\n",
            Refusal::Waited => "no machine was free in time: try again later\n",
            Refusal::Stale => "the function is being made anew: try again later\n",
            Refusal::Guest => "the function failed\n",
            Refusal::Late => "the function took too long\n",
            Refusal::Host => "the server could not run the function\n",
        }
    }

    /// The response.
    pub(super) fn response(self) -> Response<Content> {
        let mut response = Response::new(Content::text(self.words()));
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if matches!(self, Refusal::Client | Refusal::Full | Refusal::Waited | Refusal::Stale) {
            fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What is left of such a body is not read: the connection is of no use any more.
        if matches!(self, Refusal::TooLarge | Refusal::Broken | Refusal::Slow) {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
