//! HTTP as a handler sees it: a request comes in, a response goes out.
//!
//! The types have the shape of those of the crate `http`, which needs `std`. The tender speaks with the
//! client; a program sees neither connections nor versions of the protocol, and no field that is about
//! the connection alone.

mod body;
mod error;
mod head;
mod headers;
mod request;
mod response;

pub use body::Body;
pub use error::Error;
pub use headers::Headers;
pub use request::Request;
pub use response::{Builder, IntoResponse, Response};

/// Says that the program is ready, and gives the request of this run.
#[doc(hidden)]
#[must_use]
#[inline(always)]
pub fn request() -> Request {
    Request::read(crate::handler::ready()).unwrap_or_else(|error| crate::handler::fail(&error))
}

/// Ends the run with this response.
#[doc(hidden)]
pub fn respond(response: impl IntoResponse) -> ! {
    response.into_response().send()
}
