//! One request.

use super::admission::Counted;
use super::answer;
use super::bridge::{Kept, inward, outward};
use super::connection::Busy;
use super::content::{Content, Pieces, Upload};
use super::function::Function;
use super::host;
use super::identity;
use super::input::{self, Input};
use super::log::Request as Entry;
use super::refusal::Refusal;
use super::routes;
use super::start::Server;
use crate::pool::{Begun, Call, CallError, Limits, Overrun, Pool};
use coracle_hypercall::note::Program;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The status in logs and metrics of a request whose client went away before there was an answer.
const CLIENT_GONE: u16 = 499;
/// How much later than the deadline a call is given up that no instance has been found for.
const GRACE: Duration = Duration::from_millis(50);

/// What is written down of a request when it is over.
pub(super) struct Record {
    server: Arc<Server>,
    function: Option<Arc<Function>>,
    client: IpAddr,
    method: Method,
    uri: Uri,
    host: Option<String>,
    id: HeaderValue,
    start: Instant,
    status: u16,
    received: Arc<AtomicU64>,
    sent: u64,
    complete: bool,
    _counted: Option<Counted>,
    _busy: Busy,
}

impl Record {
    fn function_name(&self) -> &str {
        self.function.as_ref().map_or("-", |function| &function.name)
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// So many bytes of the response went out.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// All of the response went out.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// What the guest wrote to standard error.
    pub(super) fn diagnostics(&self, text: &[u8]) {
        if !text.is_empty() {
            let text = String::from_utf8_lossy(text);
            self.server.log.function("stderr", self.function_name(), Some(self.id()), &text);
        }
    }

    /// Why there is no answer, or not all of it.
    pub(super) fn failed(&self, error: &CallError) {
        let say = |event, text: &str| {
            self.server.log.function(event, self.function_name(), Some(self.id()), text);
        };
        match error {
            CallError::Crashed { report, diagnostics, .. } => {
                self.diagnostics(diagnostics);
                say("crash", report);
            }
            CallError::Failed { diagnostics, .. } | CallError::Exited { diagnostics, .. } => {
                self.diagnostics(diagnostics);
                say("failure", &error.to_string());
            }
            CallError::Cancelled => {}
            CallError::Overran(_) => say("overrun", &error.to_string()),
            CallError::Busy(_) | CallError::Host(_) => say("host", &error.to_string()),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        match &self.function {
            Some(function) => function.metrics.answered(self.status, took),
            None => self.server.metrics.answered(self.status),
        }
        if self.server.log.has_requests() {
            self.server.log.request(&Entry {
                id: self.id(),
                client: self.client,
                method: self.method.as_str(),
                host: self.host.as_deref(),
                path: self.uri.path_and_query().map_or("-", |target| target.as_str()),
                function: self.function_name(),
                status: self.status,
                bytes_in: self.received.load(Ordering::Relaxed),
                bytes_out: self.sent,
                took,
                complete: self.complete,
            });
        }
    }
}

/// Answers a request.
pub(super) async fn handle(
    server: Arc<Server>,
    client: IpAddr,
    busy: Busy,
    request: Request<Incoming>,
) -> Result<Response<Content>, Infallible> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with("/-/") {
        return Ok(own(&server, parts.uri.path()));
    }
    let id = identity::of(parts.headers.get(identity::FIELD));
    let mut record = Record {
        server: Arc::clone(&server),
        function: None,
        client,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        host: host::of(&parts).ok().flatten().map(str::to_owned),
        id: id.clone(),
        start,
        status: CLIENT_GONE,
        received: Arc::default(),
        sent: 0,
        complete: false,
        _counted: None,
        _busy: busy,
    };
    let response = call(&server, &mut record, &parts, body).await;
    let mut response = response.unwrap_or_else(Refusal::response);
    response.headers_mut().insert(identity::FIELD, id);
    let status = response.status();
    record.status = status.as_u16();
    // What has no body, or whose body is not sent, is complete with its head.
    record.complete = response.body().is_end_stream()
        || record.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    Ok(response.map(|content| content.recorded(record)))
}

/// What the server answers below `/-/`.
fn own(server: &Server, path: &str) -> Response<Content> {
    let mut kind = "text/plain; charset=utf-8";
    let (status, words) = match path {
        "/-/health" => (StatusCode::OK, "ok\n".to_owned()),
        "/-/metrics" => {
            kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, server.metrics_text())
        }
        _ => (StatusCode::NOT_FOUND, "there is /-/health and /-/metrics\n".to_owned()),
    };
    let mut response = Response::new(Content::whole(words));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Finds the function of a request and calls it.
async fn call(
    server: &Server,
    record: &mut Record,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Content>, Refusal> {
    let host = host::of(parts)?;
    let found = routes::find(&server.functions, |function| &function.settings.route, host, parts.uri.path());
    let function = Arc::clone(found.ok_or(Refusal::NoRoute)?);
    record.function = Some(Arc::clone(&function));
    if let Some(clients) = &server.clients {
        record._counted = Some(clients.count(record.client).ok_or(Refusal::Client)?);
    }
    if function.places.is_full() || !server.held.has_room() {
        return Err(Refusal::Full);
    }
    let pool = function.pool().ok_or(Refusal::Stale)?;
    let received = Arc::clone(&record.received);
    // What is held of the request's body until this returns. A client that sends it slowly has no place.
    let mut share = server.held.share();
    let input =
        input::take(&function, parts, &record.id, body, server.receive, &received, &mut share).await?;
    let mut place = function.places.take().ok_or(Refusal::Full)?;
    let limit = function.settings.deadline + GRACE;
    let streams = function.program == Program::Http;
    let result = match input {
        Input::Whole(bytes) => match pool.begin(bytes, Limits::new()) {
            Begun::Ended(result) => result.map(|output| (output.bytes, output.diagnostics)),
            Begun::Going(going) if streams => {
                let (sink, rest) = outward();
                let pieces =
                    Pieces { first: None, rest, call: Some(going.stream(sink)), _upload: None, place };
                return stream(record, pieces, limit, None).await;
            }
            Begun::Going(going) => {
                within(limit, going.finish()).await.map(|output| (output.bytes, output.diagnostics))
            }
        },
        Input::Streamed { head, total, body } => {
            let fate = Arc::default();
            let (to, source) = inward(head, total, Arc::clone(&fate));
            let upload = input::upload(body, to, function.settings.body, received, Arc::clone(&fate));
            if streams {
                let (sink, rest) = outward();
                let call = Some(pool.call_streamed(source, sink, Limits::new()));
                let pieces = Pieces { first: None, rest, call, _upload: Some(upload), place };
                return stream(record, pieces, limit, Some(fate)).await;
            }
            finish(&pool, source, limit, upload, &fate).await?
        }
    };
    place.leave();
    // The answers of calls that were made one after the other go out together. Each would wake its client up,
    // which takes the CPU from the guest of the next.
    tokio::task::yield_now().await;
    match result {
        Ok((output, diagnostics)) => {
            record.diagnostics(&diagnostics);
            let kind = function.settings.content_type.as_ref();
            answer::whole(function.program, server.held.keep(output), &parts.method, kind)
                .inspect_err(|_| malformed(record))
        }
        Err(error) => {
            record.failed(&error);
            Err(Refusal::of(&error))
        }
    }
}

type Answered = Result<(Vec<u8>, Vec<u8>), CallError>;

/// Makes a call whose input is still coming, and whose output is an answer when it is complete.
async fn finish(
    pool: &Pool,
    source: super::bridge::Inward,
    limit: Duration,
    _upload: Upload,
    fate: &OnceLock<Refusal>,
) -> Result<Answered, Refusal> {
    let kept = Kept::default();
    let called = within(limit, pool.call_streamed(source, kept.clone(), Limits::new())).await;
    match (called, fate.get()) {
        (Err(error), Some(refusal)) if is_of_client(&error) => Err(*refusal),
        (result, _) => Ok(result.map(|diagnostics| (kept.take(), diagnostics))),
    }
}

/// Whether a call may have ended so because of what its client did not send.
fn is_of_client(error: &CallError) -> bool {
    matches!(error, CallError::Cancelled | CallError::Overran(Overrun::Time(_)))
}

/// Waits for a call, which the pool ends at its deadline if it has begun.
async fn within<T>(limit: Duration, call: Call<T>) -> Result<T, CallError>
where
    Call<T>: Future<Output = Result<T, CallError>>,
{
    timeout(limit, call).await.unwrap_or(Err(CallError::Busy(limit)))
}

/// Waits for the head of a response whose content follows piece by piece.
async fn stream(
    record: &Record,
    mut pieces: Pieces,
    limit: Duration,
    fate: Option<Arc<OnceLock<Refusal>>>,
) -> Result<Response<Content>, Refusal> {
    let mut bytes = Vec::new();
    let head = timeout(limit, head(&mut pieces.rest, &mut bytes)).await.map_err(|_| {
        record.failed(&CallError::Busy(limit));
        Refusal::Waited
    })?;
    let head = head.inspect_err(|_| malformed(record))?;
    let Some((parts, length)) = head else {
        // There is no more output: how the call has ended says why.
        let result = match pieces.call.take() {
            Some(call) => within(limit, call).await,
            None => Ok(Vec::new()),
        };
        return match (result, fate.as_ref().and_then(|fate| fate.get())) {
            (Err(error), Some(refusal)) if is_of_client(&error) => Err(*refusal),
            (Err(error), _) => {
                record.failed(&error);
                Err(Refusal::of(&error))
            }
            (Ok(diagnostics), _) => {
                record.diagnostics(&diagnostics);
                malformed(record);
                Err(Refusal::Guest)
            }
        };
    };
    pieces.first = Some(Bytes::from(bytes).slice(length..)).filter(|first| !first.is_empty());
    Ok(Response::from_parts(parts, Content::pieces(pieces)))
}

/// Collects output until a head is complete; nothing when the output ends before.
async fn head(
    rest: &mut mpsc::Receiver<Bytes>,
    bytes: &mut Vec<u8>,
) -> Result<Option<(hyper::http::response::Parts, usize)>, Refusal> {
    while let Some(piece) = rest.recv().await {
        bytes.extend_from_slice(&piece);
        if let Some(found) = answer::head(bytes)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn malformed(record: &Record) {
    let text = "the guest put out what is no response of HTTP/1.1";
    record.server.log.function("failure", record.function_name(), Some(record.id()), text);
}
