//! From what the guest put out to a response.

use super::content::Content;
use super::input::{is_of_connection, named_by_connection};
use super::refusal::Refusal;
use coracle_hypercall::note::Program;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Response, StatusCode};

/// No response has more fields.
const MOST_FIELDS: usize = 128;
/// No head of a response is longer.
const LONGEST_HEAD: usize = 256 << 10;

/// The response, from all of a guest's output.
pub(super) fn whole(
    program: Program,
    output: Vec<u8>,
    method: &Method,
) -> Result<Response<Content>, Refusal> {
    let bytes = Bytes::from(output);
    if program != Program::Http {
        let kind = match program {
            Program::Main if std::str::from_utf8(&bytes).is_ok() => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        let mut response = Response::new(Content::whole(bytes));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        return Ok(response);
    }
    let (mut parts, length) = head(&bytes)?.ok_or(Refusal::Guest)?;
    let content = bytes.slice(length..);
    // The guest's word counts where the content cannot be counted.
    if *method != Method::HEAD && parts.status != StatusCode::NOT_MODIFIED {
        parts.headers.remove(CONTENT_LENGTH);
    }
    Ok(Response::from_parts(parts, Content::whole(content)))
}

/// The head of a response and its length, once all of it is there. It is an error where it is none.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Parts, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        _ => return Err(Refusal::Guest),
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    // Informal responses and changes of the protocol are the connection's.
    let status = parsed.code.filter(|code| (200..600).contains(code));
    parts.status = status.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Refusal::Guest)?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::Guest)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Refusal::Guest)?;
        parts.headers.append(name, value);
    }
    let named = named_by_connection(&parts.headers);
    let unwanted: Vec<HeaderName> =
        parts.headers.keys().filter(|name| is_of_connection(name, &named)).cloned().collect();
    for name in unwanted {
        parts.headers.remove(name);
    }
    Ok(Some((parts, length)))
}

#[cfg(test)]
mod tests {
    use super::head;

    #[test]
    fn a_head_is_taken_without_the_fields_of_the_connection() {
        let bytes =
            b"HTTP/1.1 404 \r\nConnection: close, X-One\r\nX-One: 1\r\nX-Two: 2\r\nX-Two: 3\r\n\r\nbody";
        let (parts, length) = head(bytes).expect("a head").expect("all of it");
        assert_eq!((parts.status.as_u16(), &bytes[length..]), (404, &b"body"[..]));
        let fields: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("x-two", &b"2"[..]), ("x-two", b"3")]);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bytes in [
            "HTTP/1.1 101 \r\n\r\n",
            "HTTP/1.1 600 \r\n\r\n",
            "HTTP/1.1 20 \r\n\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 \r\na b: c\r\n\r\n",
        ] {
            assert!(head(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(matches!(head(b"HTTP/1.1 200 \r\nA: b\r\n"), Ok(None)));
        assert!(head(format!("HTTP/1.1 200 \r\nA: {}", "b".repeat(300_000)).as_bytes()).is_err());
    }
}
