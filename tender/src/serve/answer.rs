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

/// The response, from all of a guest's output, which is of this kind where the guest does not say it.
pub(super) fn whole(
    program: Program,
    bytes: Bytes,
    method: &Method,
    kind: Option<&HeaderValue>,
) -> Result<Response<Content>, Refusal> {
    if program != Program::Http {
        let usual = || match program {
            Program::Main if std::str::from_utf8(&bytes).is_ok() => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        };
        let kind = kind.cloned().unwrap_or_else(|| HeaderValue::from_static(usual()));
        let mut response = Response::new(Content::whole(bytes));
        response.headers_mut().insert(CONTENT_TYPE, kind);
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
    check_length(&mut parts)?;
    Ok(Some((parts, length)))
}

/// Leaves no length but one number, and none where there can be no content (RFC 9110, section 8.6).
fn check_length(parts: &mut Parts) -> Result<(), Refusal> {
    if parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), more) = (lengths.next(), lengths.next().is_some()) else { return Ok(()) };
    let is_number = length.as_bytes().iter().all(u8::is_ascii_digit);
    let fits = length.to_str().is_ok_and(|length| length.parse::<u64>().is_ok());
    if more || !is_number || !fits { Err(Refusal::Guest) } else { Ok(()) }
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
    fn where_there_is_no_content_there_is_no_length() {
        let (parts, _) =
            head(b"HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\n").expect("a head").expect("all of it");
        assert!(parts.headers.is_empty());
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bytes in [
            "HTTP/1.1 101 \r\n\r\n",
            "HTTP/1.1 600 \r\n\r\n",
            "HTTP/1.1 20 \r\n\r\n",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 \r\na b: c\r\n\r\n",
            "HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 \r\nContent-Length: +2\r\n\r\n",
            "HTTP/1.1 200 \r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert!(head(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(matches!(head(b"HTTP/1.1 200 \r\nA: b\r\n"), Ok(None)));
        assert!(head(format!("HTTP/1.1 200 \r\nA: {}", "b".repeat(300_000)).as_bytes()).is_err());
    }
}
