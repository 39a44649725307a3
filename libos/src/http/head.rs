//! The head of a request, as RFC 9112 has it.

use super::{Error, Headers};
use httparse::{EMPTY_HEADER, Status};

/// How many fields there usually are at most.
const USUAL: usize = 64;
/// How many there may be.
const MOST: usize = 4096;

/// What stands in the head of a request.
pub(super) struct Head {
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    pub(super) headers: Headers,
    /// Where the body begins.
    pub(super) length: usize,
}

/// Where the head ends, if all of it is there.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    with_fields(bytes, |_, length| length)
}

/// The head, if all of it is there.
pub(super) fn parse(bytes: &'static [u8]) -> Result<Option<Head>, Error> {
    with_fields(bytes, |request, length| {
        let mut headers = Headers::with_capacity(request.headers.len());
        for field in &*request.headers {
            headers.push_parsed(field.name, field.value);
        }
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        Head { method, target, headers, length }
    })
}

fn with_fields<'a, T>(
    bytes: &'a [u8],
    take: impl Fn(&httparse::Request<'_, 'a>, usize) -> T,
) -> Result<Option<T>, Error> {
    let parse = |fields: &mut [httparse::Header<'a>]| {
        let mut request = httparse::Request::new(fields);
        Ok(match request.parse(bytes)? {
            Status::Complete(length) => Some(take(&request, length)),
            Status::Partial => None,
        })
    };
    let result = match parse(&mut [EMPTY_HEADER; USUAL]) {
        Err(httparse::Error::TooManyHeaders) => parse(&mut alloc::vec![EMPTY_HEADER; MOST]),
        result => result,
    };
    result.map_err(|error| {
        Error::Request(match error {
            httparse::Error::HeaderName => "the name of a field",
            httparse::Error::HeaderValue => "the value of a field",
            httparse::Error::NewLine => "the end of a line",
            httparse::Error::TooManyHeaders => "more than 4096 fields",
            httparse::Error::Version => "the version",
            _ => "the first line",
        })
    })
}
