//! A request.

use super::{Body, Error, Headers, head};
use crate::handler::{self, Input};

/// A longer head is refused.
const LONGEST_HEAD: usize = 1 << 20;
/// How much more is asked for when the head is longer than what came at first.
const PIECE: usize = 64 << 10;

/// A request.
#[derive(Debug)]
pub struct Request {
    method: &'static str,
    target: &'static str,
    headers: Headers,
    body: Body,
}

impl Request {
    /// Takes a request out of the input.
    pub(super) fn read(Input { held, mut left }: Input) -> Result<Request, Error> {
        let mut bytes: &'static [u8] = held;
        if head::length(bytes)?.is_none() {
            let mut longer = bytes.to_vec();
            while head::length(&longer)?.is_none() {
                if longer.len() > LONGEST_HEAD {
                    return Err(Error::Request("its head is longer than 1 MiB"));
                }
                longer.reserve_exact(PIECE);
                let more = if left == Some(0) { 0 } else { handler::append(&mut longer)? };
                if more == 0 {
                    return Err(Error::Request("it ends within its head"));
                }
                left = left.map(|left| left.saturating_sub(more as u64));
            }
            bytes = longer.leak();
        }
        let Some(head) = head::parse(bytes)? else { return Err(Error::Request("it has no head")) };
        let body = Body::from_input(bytes.get(head.length..).unwrap_or_default(), left);
        Ok(Request { method: head.method, target: head.target, headers: head.headers, body })
    }

    /// The method, such as `GET`.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// Path and query as they were sent.
    #[must_use]
    pub const fn target(&self) -> &'static str {
        self.target
    }

    /// The target up to its query. Nothing is decoded.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// What follows the `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&'static str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The fields of the head.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body, to be read.
    #[must_use]
    pub const fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }
}
