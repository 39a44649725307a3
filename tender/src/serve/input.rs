//! From a request to what the guest is given.

use super::bridge::Piece;
use super::content::Upload;
use super::function::Function;
use super::held::Share;
use super::identity;
use super::refusal::Refusal;
use coracle_hypercall::note::Program;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// A body up to so many bytes is taken whole before the call begins: a client that sends it slowly holds no
/// machine.
const WHOLE: usize = 256 << 10;

/// What a guest is given.
pub(super) enum Input {
    /// All of it.
    Whole(Bytes),
    /// The beginning, and a body that is handed on as it comes.
    Streamed { head: Bytes, total: Option<u64>, body: Incoming },
}

/// Takes a request in as far as that is done before the call.
pub(super) async fn take(
    function: &Function,
    parts: &Parts,
    id: &HeaderValue,
    mut body: Incoming,
    patience: Duration,
    received: &AtomicU64,
    share: &mut Share,
) -> Result<Input, Refusal> {
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > function.settings.body) {
        return Err(Refusal::TooLarge);
    }
    let whole = length.is_none_or(|length| length <= WHOLE as u64);
    let room = length.filter(|_| whole).unwrap_or_default() as usize;
    let mut bytes = match function.program {
        Program::Http => head(parts, id, room),
        _ => Vec::new(),
    };
    let start = bytes.len();
    if body.is_end_stream() {
        return Ok(Input::Whole(bytes.into()));
    }
    let total = length.map(|length| start as u64 + length);
    let collect = async {
        while whole && bytes.len() - start <= WHOLE {
            let Some(frame) = body.frame().await else {
                return Ok(Some(Bytes::from(std::mem::take(&mut bytes))));
            };
            let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
            let count = received.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
            if count > function.settings.body {
                return Err(Refusal::TooLarge);
            }
            share.add(data.len());
            if !share.has_room() {
                return Err(Refusal::Full);
            }
            if bytes.is_empty() && total == Some(data.len() as u64) {
                return Ok(Some(data));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(None)
    };
    match tokio::time::timeout(patience, collect).await {
        Ok(Ok(Some(bytes))) => Ok(Input::Whole(bytes)),
        Ok(Ok(None)) => Ok(Input::Streamed { head: bytes.into(), total, body }),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::Slow),
    }
}

/// Hands a body on, until its end or until nobody wants it. Why it broke off is left in `fate`.
pub(super) fn upload(
    mut body: Incoming,
    to: mpsc::Sender<Piece>,
    most: u64,
    received: Arc<AtomicU64>,
    fate: Arc<OnceLock<Refusal>>,
) -> Upload {
    Upload(tokio::spawn(async move {
        loop {
            let piece = match body.frame().await {
                None => Piece::End,
                Some(Err(_)) => {
                    let _ = fate.set(Refusal::Broken);
                    return;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let count = data.len() as u64;
                        if received.fetch_add(count, Ordering::Relaxed) + count > most {
                            let _ = fate.set(Refusal::TooLarge);
                            return;
                        }
                        Piece::Bytes(data)
                    }
                    Err(_) => continue,
                },
            };
            let end = matches!(piece, Piece::End);
            if to.send(piece).await.is_err() || end {
                return;
            }
        }
    }))
}

/// A request's head in the form of HTTP/1.1, with room for so much of a body.
fn head(parts: &Parts, id: &HeaderValue, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024 + room);
    bytes.extend_from_slice(parts.method.as_str().as_bytes());
    bytes.push(b' ');
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    bytes.extend_from_slice(target.as_bytes());
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    let mut field = |name: &HeaderName, value: &HeaderValue| {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    };
    if let Some(host) = parts.uri.host()
        && let Ok(host) = HeaderValue::from_str(host)
        && !parts.headers.contains_key(header::HOST)
    {
        field(&header::HOST, &host);
    }
    let named = named_by_connection(&parts.headers);
    for (name, value) in &parts.headers {
        if name.as_str() != identity::FIELD && !is_of_connection(name, &named) {
            field(name, value);
        }
    }
    field(&HeaderName::from_static(identity::FIELD), id);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The fields that a `Connection` field names: they concern the connection alone too.
pub(super) fn named_by_connection(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// Whether a field concerns the connection alone (RFC 9110, section 7.6.1).
pub(super) fn is_of_connection(name: &HeaderName, named: &[HeaderName]) -> bool {
    [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::EXPECT,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
        || named.contains(name)
}
