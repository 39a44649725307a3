//! What is called.

use super::Invoke;
use super::show::FAILED;
use crate::command::say::say;
use coracle_hypercall::exit;
use coracle_tender::calls::LogEntry;
use coracle_tender::confine::{ConfineError, Duty, Kept};
use coracle_tender::image::Image;
use coracle_tender::instance::Config;
use coracle_tender::machine::Host;
use coracle_tender::pool::{CallError, HostFailure, Limits, Output, Overrun, Pool};
use coracle_tender::runnable::Runnable;
use coracle_tender::snapshot::{Snapshot, TakeError};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a program may take to say that it is ready.
const INITIALISE: Duration = Duration::from_secs(60);

/// A program, and how each call gets its instance.
pub(super) enum Callee {
    /// A clean one of a pool.
    Clean(Pool),
    /// One that is booted for it.
    Fresh { host: Arc<Host>, image: Arc<Image>, config: Config, timeout: Duration },
}

/// Why nothing can be called.
pub(super) struct NoCallee {
    pub(super) words: String,
    /// The exit status for it.
    pub(super) status: u8,
}

impl From<String> for NoCallee {
    fn from(words: String) -> NoCallee {
        NoCallee { words, status: exit::TENDER }
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) result: Result<Output, CallError>,
    pub(super) took: Duration,
}

impl Callee {
    /// Gets a program ready for so many calls.
    pub(super) fn open(invoke: &Invoke, host: Arc<Host>, count: u64) -> Result<Callee, NoCallee> {
        let path = invoke.program.as_path();
        let opened = Runnable::open(path).map_err(|error| error.to_string())?;
        let unconfined = |error: ConfineError| error.to_string();
        let opened_file = [opened.file().as_fd()];
        invoke.confinement.started_with(&host, &opened_file, Kept::Nothing).map_err(unconfined)?;
        invoke.confinement.calls(Duty::Pool, &host).map_err(unconfined)?;
        let image = match opened {
            Runnable::Snapshot(file) => return snapshot(invoke, &host, file, count),
            Runnable::Image(image) => image,
        };
        let arguments = std::iter::once(path.as_os_str().to_owned()).chain(invoke.arguments.iter().cloned());
        let default = Config::default();
        let config = Config {
            memory: invoke.mem.unwrap_or(default.memory),
            arguments: arguments.collect::<Vec<OsString>>(),
            ..default
        };
        if invoke.fresh_layout {
            return Ok(Callee::Fresh { host, image, config, timeout: invoke.timeout });
        }
        let snapshot = take(&host, &image, &config).map_err(|error| {
            let status = if error.is_of_host() { exit::TENDER } else { FAILED };
            NoCallee { words: words(path, &error), status }
        })?;
        let pool = pool(snapshot, invoke.timeout, invoke.jobs.into(), count);
        pool.map(Callee::Clean).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Makes a call.
    pub(super) fn call(&self, input: &[u8]) -> Called {
        match self {
            Callee::Clean(pool) => {
                let start = Instant::now();
                let result = pool.call(input, Limits::new());
                Called { result, took: start.elapsed() }
            }
            Callee::Fresh { host, image, config, timeout } => {
                let start = Instant::now();
                let result = fresh(host, image, config, *timeout, input);
                Called { result, took: start.elapsed() }
            }
        }
    }
}

/// A call in an instance that is booted for it.
fn fresh(
    host: &Arc<Host>,
    image: &Arc<Image>,
    config: &Config,
    timeout: Duration,
    input: &[u8],
) -> Result<Output, CallError> {
    let taken = take(host, image, config);
    let snapshot = taken.map_err(|error| not_ready(words(image.path(), &error), error))?;
    pool(snapshot, timeout, 1, 1)?.call(input, Limits::new())
}

/// A program that does not get ready has failed, unless it is the host that has.
fn not_ready(words: String, error: TakeError) -> CallError {
    if error.is_of_host() {
        return HostFailure::Boot(words).into();
    }
    match error {
        TakeError::Ended { report: Some(report), diagnostics, .. } => {
            CallError::Crashed { summary: "while it initialised itself".to_owned(), report, diagnostics }
        }
        TakeError::Late(limit) => CallError::Overran(Overrun::Time(limit)),
        _ => CallError::Failed { reason: words, diagnostics: Vec::new() },
    }
}

fn snapshot(invoke: &Invoke, host: &Arc<Host>, file: File, count: u64) -> Result<Callee, NoCallee> {
    let path = invoke.program.as_path();
    for (given, option, what) in [
        (invoke.fresh_layout, "--fresh-layout", "layout"),
        (invoke.mem.is_some(), "--mem", "memory"),
        (!invoke.arguments.is_empty(), "arguments after --", "arguments"),
    ] {
        if given {
            return Err(format!(
                "{}: is a snapshot, whose {what} was decided when it was taken: leave {option} out, or name \
                 the image",
                path.display()
            )
            .into());
        }
    }
    let mut snapshot = Snapshot::from_file(host, file, path).map_err(|error| error.to_string())?;
    if count > 1 {
        snapshot = snapshot
            .into_memory()
            .map_err(|error| format!("{}: cannot read it into memory: {error}", path.display()))?;
    }
    let pool = pool(snapshot, invoke.timeout, invoke.jobs.into(), count);
    pool.map(Callee::Clean).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Boots a program up to where it is ready, and says what it says meanwhile.
fn take(host: &Arc<Host>, image: &Arc<Image>, config: &Config) -> Result<Snapshot, TakeError> {
    let (snapshot, said) = Snapshot::take(host, image, config, INITIALISE)?;
    for text in [&said.output, &said.diagnostics] {
        if !text.is_empty() {
            say(String::from_utf8_lossy(text));
        }
    }
    Ok(snapshot)
}

/// A pool for so many calls, of which so many are made at once.
fn pool(snapshot: Snapshot, timeout: Duration, jobs: usize, count: u64) -> Result<Pool, HostFailure> {
    let at_once = jobs.min(usize::try_from(count).unwrap_or(usize::MAX)).max(1);
    Pool::builder(Arc::new(snapshot))
        .min(at_once)
        .max(at_once)
        .deadline(timeout)
        .output(u64::MAX)
        .log(|entry: &LogEntry<'_>| {
            say(format_args!("{:?} {}: {}\n", entry.level, entry.target, entry.message));
        })
        .build()
}

/// Why a program did not get ready, with all that there is to say.
fn words(path: &Path, error: &TakeError) -> String {
    let mut text = format!("{}: {error}", path.display());
    if let TakeError::Ended { report, diagnostics, .. } = error {
        for line in String::from_utf8_lossy(diagnostics).lines() {
            text.push_str(&format!("\n  {}", coracle_tender::text::escape_lines(line)));
        }
        if let Some(report) = report {
            text.push_str(&format!("\n{}", report.trim_end()));
        }
    }
    text
}
