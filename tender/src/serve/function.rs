//! One function: its program, its pool, its limits.

use super::admission::Places;
use super::config::FunctionSettings;
use super::log::Log;
use super::metrics::{FunctionMetrics, Metrics};
use crate::calls::LogEntry;
use crate::image::{Image, ImageError};
use crate::instance::Config;
use crate::machine::Host;
use crate::pool::{HostFailure, Pool};
use crate::runnable::Runnable;
use crate::snapshot::{Said, Snapshot, SnapshotError, TakeError};
use coracle_hypercall::note::Program;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long a program may take to say that it is ready.
const INITIALISE: Duration = Duration::from_secs(60);

/// Why a function cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionError {
    /// The image is none.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The snapshot is none.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot cannot be read into memory.
    #[error("{}: cannot read it into memory: {cause}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// The program does not get ready.
    #[error("{}: {}", path.display(), words(cause))]
    Take {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: Box<TakeError>,
    },
    /// There are no instances.
    #[error("{}: {cause}", path.display())]
    Pool {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: HostFailure,
    },
    /// Something was asked of a snapshot that was decided when it was taken.
    #[error("{}: is a snapshot, {what}: name the image instead", path.display())]
    Fixed {
        /// The file.
        path: PathBuf,
        /// What cannot be had.
        what: &'static str,
    },
}

/// A failure to get ready in words, with all that there is to say.
fn words(error: &TakeError) -> String {
    match error {
        TakeError::Ended { report, diagnostics, .. } => {
            let said = String::from_utf8_lossy(diagnostics);
            let said = said.lines().map(|line| format!("\n  {}", crate::text::escape_lines(line)));
            let report = report.as_ref().map(|report| format!("\n{}", report.trim_end()));
            format!("{error}{}{}", said.collect::<String>(), report.unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

/// How instances are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making {
    /// Whether the program is to be booted anew from time to time.
    pub(super) fresh: bool,
    /// How many there are at least.
    pub(super) ready: usize,
    /// Whether the threads that run them alone are confined further than the process is.
    pub(super) confined: bool,
}

/// A function that is served.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) settings: FunctionSettings,
    pub(super) program: Program,
    pub(super) places: Arc<Places>,
    pub(super) metrics: FunctionMetrics,
    /// What it is booted from anew, if that is to be done.
    origin: Option<(Arc<Host>, Arc<Image>)>,
    pool: RwLock<Pool>,
    /// Whether it is to be booted anew and could not be.
    stale: AtomicBool,
    making: Making,
    log: Log,
}

impl Function {
    /// Gets a function ready: boots its program, or reads its snapshot.
    ///
    /// # Errors
    /// See [`FunctionError`].
    pub(super) fn open(
        host: &Arc<Host>,
        settings: FunctionSettings,
        program: Runnable,
        making: Making,
        log: &Log,
        metrics: &Metrics,
    ) -> Result<Function, FunctionError> {
        let path = settings.program.clone();
        let name = settings.route.to_string();
        let (snapshot, origin) = match program {
            Runnable::Snapshot(file) => {
                for (asked, what) in [
                    (making.fresh, "whose layout is decided (--fresh-layout)"),
                    (settings.memory.is_some(), "whose memory is decided (--mem)"),
                    (!settings.arguments.is_empty(), "whose arguments are decided"),
                ] {
                    if asked {
                        return Err(FunctionError::Fixed { path, what });
                    }
                }
                let memory = Snapshot::from_file(host, file, &path)?.into_memory();
                (memory.map_err(|cause| FunctionError::Memory { path: path.clone(), cause })?, None)
            }
            Runnable::Image(image) => {
                let (snapshot, said) = take(host, &image, &settings)?;
                say(log, &name, &said);
                (snapshot, making.fresh.then(|| (Arc::clone(host), image)))
            }
        };
        let program = snapshot.program();
        let pool = pool(snapshot, &settings, making, &name, log)?;
        Ok(Function {
            places: Places::new(settings.instances as usize + settings.queue as usize),
            metrics: metrics.of(&name),
            name,
            program,
            origin,
            pool: RwLock::new(pool),
            stale: AtomicBool::new(false),
            making,
            log: log.clone(),
            settings,
        })
    }

    /// The pool that calls are made in now; nothing where there is none with the layout that was asked for.
    pub(super) fn pool(&self) -> Option<Pool> {
        if self.stale.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.pool.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Boots the program anew, and makes further calls there. Where that fails no calls are made until it
    /// succeeds.
    pub(super) fn renew(&self) {
        let Some((host, image)) = &self.origin else { return };
        let renewed = take(host, image, &self.settings).and_then(|(snapshot, said)| {
            say(&self.log, &self.name, &said);
            pool(snapshot, &self.settings, self.making, &self.name, &self.log)
        });
        match renewed {
            Ok(pool) => {
                let old = {
                    let mut current = self.pool.write().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *current, pool)
                };
                self.stale.store(false, Ordering::Relaxed);
                drop(old);
            }
            Err(error) => {
                self.stale.store(true, Ordering::Relaxed);
                let text = format!("cannot make it anew, and answers 503 until that can be done: {error}");
                self.log.function("renewal", &self.name, None, &text);
            }
        }
    }
}

fn take(
    host: &Arc<Host>,
    image: &Arc<Image>,
    settings: &FunctionSettings,
) -> Result<(Snapshot, Said), FunctionError> {
    let name = settings.program.as_os_str().to_owned();
    let default = Config::default();
    let config = Config {
        memory: settings.memory.unwrap_or(default.memory),
        arguments: std::iter::once(name).chain(settings.arguments.iter().map(OsString::from)).collect(),
        ..default
    };
    Snapshot::take(host, image, &config, INITIALISE)
        .map_err(|cause| FunctionError::Take { path: settings.program.clone(), cause: Box::new(cause) })
}

fn pool(
    snapshot: Snapshot,
    settings: &FunctionSettings,
    making: Making,
    name: &str,
    log: &Log,
) -> Result<Pool, FunctionError> {
    let (name, log) = (name.to_owned(), log.clone());
    Pool::builder(Arc::new(snapshot))
        .min(making.ready)
        .confined(making.confined)
        .max(settings.instances as usize)
        .deadline(settings.deadline)
        .output(settings.output)
        .log(move |entry: &LogEntry<'_>| {
            log.function(
                "guest",
                &name,
                None,
                &format!("{:?} {}: {}", entry.level, entry.target, entry.message),
            );
        })
        .build()
        .map_err(|cause| FunctionError::Pool { path: settings.program.clone(), cause })
}

/// What a program said while it got ready.
fn say(log: &Log, name: &str, said: &Said) {
    for bytes in [&said.output, &said.diagnostics] {
        if !bytes.is_empty() {
            log.function("start", name, None, &String::from_utf8_lossy(bytes));
        }
    }
}
