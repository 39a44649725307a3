//! A response.

use super::{Body, Error, Headers};
use crate::handler;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

/// A response.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Headers,
    body: Body,
}

impl Response {
    /// One with status 200, no fields and this body.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Response {
        Response { status: 200, headers: Headers::default(), body: body.into() }
    }

    /// One that is put together.
    ///
    /// ```ignore
    /// Response::builder().status(404).header("content-type", "text/plain").body("not here\n")
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder(Ok((200, Headers::default())))
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The fields.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The fields, to add to.
    #[must_use]
    pub const fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Ends the run with this.
    pub(super) fn send(self) -> ! {
        let mut head = Vec::with_capacity(512);
        self.headers.write_head(self.status, &mut head);
        let body = self.body;
        if let Some(bytes) = body.all_held() {
            handler::finish(&head, bytes);
        }
        for piece in body {
            match piece {
                Ok(piece) => handler::send(&core::mem::take(&mut head), &piece),
                Err(error) => handler::fail(&error),
            }
        }
        handler::finish(&head, &[])
    }
}

/// A response that is put together, see [`Response::builder`].
#[derive(Debug)]
pub struct Builder(Result<(u16, Headers), Error>);

impl Builder {
    /// With this status, from 200 to 599.
    #[must_use]
    pub fn status(self, status: u16) -> Builder {
        Builder(self.0.and_then(|(_, headers)| match status {
            200..=599 => Ok((status, headers)),
            _ => Err(Error::Status(status)),
        }))
    }

    /// With this field, behind those that are there.
    #[must_use]
    pub fn header(self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Builder {
        Builder(self.0.and_then(|(status, mut headers)| {
            headers.append(name, value)?;
            Ok((status, headers))
        }))
    }

    /// With this body, and done.
    ///
    /// # Errors
    /// The first thing that was wrong with status or fields.
    pub fn body(self, body: impl Into<Body>) -> Result<Response, Error> {
        let (status, headers) = self.0?;
        Ok(Response { status, headers, body: body.into() })
    }
}

/// What a handler of requests may return.
#[diagnostic::on_unimplemented(
    message = "a handler of requests cannot return `{Self}`",
    note = "it may return `Response`, a body, or `Result` of these with an error that is `Display`"
)]
pub trait IntoResponse {
    /// The response. A failure ends the run.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

macro_rules! bodies {
    ($($type:ty),+) => {
        $(impl IntoResponse for $type {
            fn into_response(self) -> Response {
                Response::new(self)
            }
        })+
    };
}

bodies!(Body, Vec<u8>, String, &'static [u8], &'static str);

impl<T: IntoResponse, E: Display> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(response) => response.into_response(),
            Err(reason) => handler::fail(&reason),
        }
    }
}
