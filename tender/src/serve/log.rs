//! The log, and the thread that writes it: nobody waits for standard error.

use super::options::LogFormat;
use crate::text::escape_lines;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

/// How many bytes wait to be written before further entries are dropped.
const MOST: usize = 8 << 20;
/// How long entries are collected for one write. What comes after a pause is written at once.
const TOGETHER: Duration = Duration::from_millis(5);

/// Where entries go. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    format: LogFormat,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    writing: bool,
}

/// What is said of one request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) id: &'a str,
    pub(super) client: IpAddr,
    pub(super) method: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) function: &'a str,
    pub(super) status: u16,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) took: Duration,
    /// Whether the response was sent to its end.
    pub(super) complete: bool,
}

impl Log {
    /// A log with a thread that writes it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(format: LogFormat) -> std::io::Result<Log> {
        let log = Log(Arc::new(Shared {
            format,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&log.0);
        thread::Builder::new().name("coracle-log".to_owned()).spawn(move || write(&shared))?;
        Ok(log)
    }

    /// Whether requests are written down.
    pub(super) fn has_requests(&self) -> bool {
        self.0.format != LogFormat::Off
    }

    /// How many entries were dropped, since nobody took them.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Writes a request down.
    pub(super) fn request(&self, request: &Request<'_>) {
        let seconds = request.took.as_secs_f64();
        match self.0.format {
            LogFormat::Off => {}
            LogFormat::Json => self.json(
                "request",
                json!({
                    "id": request.id,
                    "client": request.client,
                    "method": request.method,
                    "host": request.host,
                    "path": request.path,
                    "function": request.function,
                    "status": request.status,
                    "bytes_in": request.bytes_in,
                    "bytes_out": request.bytes_out,
                    "seconds": seconds,
                    "complete": request.complete,
                }),
            ),
            LogFormat::Text => {
                let broken = if request.complete { "" } else { " (broken off)" };
                self.line(format_args!(
                    "{} {} {} {}{} -> {} {} in {} out {seconds:.6}s {} [{}]{broken}",
                    now(),
                    request.client,
                    request.method,
                    escape_lines(request.host.unwrap_or("-")),
                    escape_lines(request.path),
                    request.status,
                    request.bytes_in,
                    request.bytes_out,
                    request.function,
                    request.id,
                ));
            }
        }
    }

    /// Writes down something of a function: of a call of it, where there is an id.
    pub(super) fn function(&self, event: &'static str, function: &str, id: Option<&str>, text: &str) {
        let text = text.trim_end_matches('\n');
        match self.0.format {
            LogFormat::Json => {
                self.json(event, json!({ "id": id, "function": function, "text": text }));
            }
            LogFormat::Text | LogFormat::Off => {
                let mut lines = String::new();
                for line in text.split('\n') {
                    let id = id.map(|id| format!(" [{id}]")).unwrap_or_default();
                    let separator = if lines.is_empty() { "" } else { "\n" };
                    let line = escape_lines(line);
                    // Writing to a string does not fail.
                    let _ = write!(lines, "{separator}{} {event} {function}{id}: {line}", now());
                }
                self.line(format_args!("{lines}"));
            }
        }
    }

    /// Writes down something of the server.
    pub(super) fn server(&self, text: impl std::fmt::Display) {
        match self.0.format {
            LogFormat::Json => self.json("server", json!({ "text": text.to_string() })),
            LogFormat::Text | LogFormat::Off => self.line(format_args!("coracle: {text}")),
        }
    }

    fn json(&self, event: &str, mut entry: Value) {
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("time".to_owned(), now().to_string().into());
            entry.insert("event".to_owned(), event.into());
        }
        self.line(format_args!("{entry}"));
    }

    fn line(&self, line: std::fmt::Arguments<'_>) {
        let mut waiting = self.lock();
        if waiting.text.len() > MOST {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = waiting.text.is_empty();
        // Writing to a string does not fail.
        let _ = writeln!(waiting.text, "{line}");
        drop(waiting);
        if first {
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when all is written, or after a moment.
    pub(super) fn flush(&self) {
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.text.is_empty();
        let _ = self.0.changed.wait_timeout_while(self.lock(), Duration::from_secs(1), unwritten);
    }
}

/// The thread: as long as the process.
fn write(shared: &Shared) {
    let lock = || shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let nothing = |waiting: &mut Waiting| waiting.text.is_empty();
        let waited = shared.changed.wait_while(lock(), nothing);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        let text = std::mem::take(&mut waiting.text);
        waiting.writing = true;
        drop(waiting);
        // Where nobody reads, nobody misses it.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        lock().writing = false;
        shared.changed.notify_all();
        thread::sleep(TOGETHER);
    }
}

/// The time, as RFC 3339 writes it.
fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}
