//! Calls in clean instances: each in a machine that no other call has touched.
//!
//! ```no_run
//! use coracle_tender::{image::Image, instance::Config, kvm::Host};
//! use coracle_tender::{pool::{Limits, Pool}, snapshot::Snapshot};
//! use std::{path::Path, sync::Arc, time::Duration};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Arc::new(Host::open()?);
//! let image = Arc::new(Image::open(Path::new("handler-echo"))?);
//! let (snapshot, _) = Snapshot::take(&host, &image, &Config::default(), Duration::from_secs(10))?;
//! let pool = Pool::builder(Arc::new(snapshot)).max(32).deadline(Duration::from_secs(1)).build()?;
//!
//! let output = pool.call(b"Hello", Limits::new())?;
//! assert_eq!(output.bytes, b"Hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! [`Pool::call`] runs the guest on the thread that calls: a guest is a part of that thread's work, as a
//! function is. [`Pool::call_async`] uses threads of the pool. An instance goes back to the thread that used
//! it last if that asks for one. One thread more makes instances, cleans those with a lot to clean, and gives
//! back those that nobody has used for some time.
//!
//! # What it takes of the process
//!
//! - The signal [`kick_signal`](crate::kvm::kick_signal) (SIGRTMIN+3), with a handler: it ends a guest whose
//!   time is up. Nobody else may use it. A thread that makes calls may get it once more after a call, which
//!   ends a system call that blocks then with `EINTR`; handlers of other signals are left alone.
//! - Per instance two descriptors (`ulimit -n`), a kernel thread on some KVMs, and address space for its
//!   memory; per thread that calls a POSIX timer (`ulimit -i`). No locked memory.
//! - After a `fork` the child cannot use the pool: KVM refuses. It may make another one.
//!
//! # What clones share
//!
//! All instances of a snapshot have their memory at the same places, and know what the program had drawn
//! from random sources before it was ready. THREAT-MODEL.md says what that means.

mod error;
mod exchange;
mod functions;
mod future;
mod keeper;
mod limits;
mod metrics;
mod shards;
mod turn;
mod workers;

pub use error::{CallError, Fault, HostFailure, Overrun};
pub use exchange::{Sink, Source};
pub use future::Call;
pub use limits::Limits;
pub use metrics::Metrics;
pub use turn::{Begun, Going};

use crate::calls::{Abort, LogEntry, Requests};
use crate::instance::{End, Instance};
use crate::kvm::Dead;
use crate::snapshot::Snapshot;
use exchange::Exchange;
use functions::Functions;
use keeper::Tasks;
use metrics::Counters;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shards::Shards;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use turn::Lengths;
use workers::Workers;

/// More changed pages than this are copied back by the pool's own thread, not by the caller's.
const MANY_PAGES: usize = 512;
/// For how long an instance that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(10);

/// What a call has put out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The answer.
    pub bytes: Vec<u8>,
    /// What the guest wrote to standard error.
    pub diagnostics: Vec<u8>,
}

/// Instances of one snapshot, and calls in them. Clones are handles of the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    _end: Arc<EndOfPool>,
}

/// Sees to it that the pool's threads end with its last handle.
#[derive(Debug)]
struct EndOfPool(Arc<Tasks>, Arc<Workers>);

impl Drop for EndOfPool {
    fn drop(&mut self) {
        self.0.end();
        self.1.end();
    }
}

type Log = Box<dyn Fn(&LogEntry<'_>) + Send + Sync>;

/// What all threads share.
struct Shared {
    snapshot: Arc<Snapshot>,
    idle: Shards,
    /// How many instances there are.
    live: AtomicUsize,
    least: usize,
    most: usize,
    cpus: usize,
    limits: Limits,
    functions: Functions,
    log: Option<Log>,
    counters: Counters,
    tasks: Arc<Tasks>,
    workers: Arc<Workers>,
    /// How many wait for an instance, and how they are told of one.
    waiting: Mutex<usize>,
    freed: Condvar,
    /// Whether calls take long.
    lengths: Lengths,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("live", &self.live).field("most", &self.most).finish_non_exhaustive()
    }
}

/// Sets a pool up.
pub struct Builder {
    snapshot: Arc<Snapshot>,
    least: usize,
    most: usize,
    limits: Limits,
    functions: Functions,
    log: Option<Log>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl Builder {
    /// How many instances there are at least: so many calls at once find one ready. Without it, 1.
    #[must_use]
    pub fn min(self, instances: usize) -> Builder {
        Builder { least: instances, ..self }
    }

    /// How many instances there are at most: further calls wait. Without it, 64.
    #[must_use]
    pub fn max(self, instances: usize) -> Builder {
        Builder { most: instances, ..self }
    }

    /// How long a call may take, unless it says so itself. Without it, 10 seconds.
    #[must_use]
    pub fn deadline(self, time: Duration) -> Builder {
        Builder { limits: self.limits.time(time), ..self }
    }

    /// How many bytes of its heap a call may use, unless it says so itself. Without it, all there is.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Builder {
        Builder { limits: self.limits.memory(bytes), ..self }
    }

    /// How many bytes a call may put out, unless it says so itself. Without it, 64 MiB.
    #[must_use]
    pub fn output(self, bytes: u64) -> Builder {
        Builder { limits: self.limits.output(bytes), ..self }
    }

    /// Offers a function to the guests: they call it by this name, with an argument and a result in JSON. It
    /// runs on the thread of the call, and may run on several at once; the guest waits for it.
    #[must_use]
    pub fn function<A: DeserializeOwned, R: Serialize, E: Display>(
        mut self,
        name: impl Into<String>,
        function: impl Fn(A) -> Result<R, E> + Send + Sync + 'static,
    ) -> Builder {
        self.functions.add_typed(name.into(), function);
        self
    }

    /// The same with bytes for argument and result.
    #[must_use]
    pub fn function_of_bytes(
        mut self,
        name: impl Into<String>,
        function: impl Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) -> Builder {
        self.functions.add(name.into(), function);
        self
    }

    /// Where the guests' log records go. Without it, nowhere. The guest waits meanwhile.
    #[must_use]
    pub fn log(self, log: impl Fn(&LogEntry<'_>) + Send + Sync + 'static) -> Builder {
        Builder { log: Some(Box::new(log)), ..self }
    }

    /// Makes the pool and its first instance; further ones follow meanwhile.
    ///
    /// # Errors
    /// When no instance can be made, or no thread be started.
    pub fn build(self) -> Result<Pool, HostFailure> {
        let most = self.most.max(1);
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            snapshot: self.snapshot,
            idle: Shards::new(cpus),
            live: AtomicUsize::new(0),
            least: self.least.min(most),
            most,
            cpus,
            limits: self.limits,
            functions: self.functions,
            log: self.log,
            counters: Counters::default(),
            tasks: Arc::default(),
            workers: Arc::default(),
            waiting: Mutex::new(0),
            freed: Condvar::new(),
            lengths: Lengths::default(),
        });
        if let Some(first) = shared.create()? {
            shared.idle.give(first);
        }
        keeper::start(&shared).map_err(HostFailure::Thread)?;
        shared.tasks.fill();
        let end = EndOfPool(Arc::clone(&shared.tasks), Arc::clone(&shared.workers));
        Ok(Pool { shared, _end: Arc::new(end) })
    }
}

impl Pool {
    /// Sets up a pool of instances of a snapshot.
    #[must_use]
    pub fn builder(snapshot: Arc<Snapshot>) -> Builder {
        let limits = Limits::new().time(Duration::from_secs(10)).output(64 << 20);
        Builder { snapshot, least: 1, most: 64, limits, functions: Functions::default(), log: None }
    }

    /// Calls the guest, on this thread.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(&self, input: &[u8], limits: Limits) -> Result<Output, CallError> {
        let mut bytes = Vec::new();
        let diagnostics = self.call_into(input, &mut bytes, limits)?;
        Ok(Output { bytes, diagnostics })
    }

    /// The same, with a buffer for the output that it is appended to. The answer is what the guest wrote to
    /// standard error.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_into(
        &self,
        input: &[u8],
        output: &mut Vec<u8>,
        limits: Limits,
    ) -> Result<Vec<u8>, CallError> {
        let (start, limits) = (Instant::now(), limits.or(self.shared.limits));
        let exchange = Exchange::new(input, output, limits.output, &self.shared.functions);
        let result = self.shared.call(start, &limits, None, exchange);
        self.shared.counters.called(&result, start.elapsed());
        result
    }

    /// What it has done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        shared.counters.read(shared.live.load(Ordering::Relaxed), shared.idle.count())
    }

    /// The snapshot that its instances are made of.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.shared.snapshot
    }
}

impl Shared {
    /// Makes one call. The answer is what the guest wrote to standard error.
    fn call(
        &self,
        start: Instant,
        limits: &Limits,
        requests: Option<&Arc<Requests>>,
        mut exchange: Exchange<'_>,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = limits.deadline(start);
        let instance = self.take(start, deadline)?;
        let mut instance = self.limited(instance, limits)?;
        let end = instance.call(&mut exchange, &mut |entry| self.log(entry), deadline, requests);
        self.ended(instance, end, limits, exchange)
    }

    fn log(&self, entry: &LogEntry<'_>) {
        if let Some(log) = &self.log {
            log(entry);
        }
    }

    /// An instance that may use no more memory than a call's limits say.
    fn limited(&self, mut instance: Instance, limits: &Limits) -> Result<Instance, CallError> {
        match instance.limit_heap(limits.memory) {
            Ok(()) => Ok(instance),
            Err(error) => {
                self.discard(instance);
                Err(HostFailure::Limit(error).into())
            }
        }
    }

    /// Takes an instance back after a run, and answers as the call does.
    fn ended(
        &self,
        instance: Instance,
        end: End,
        limits: &Limits,
        exchange: Exchange<'_>,
    ) -> Result<Vec<u8>, CallError> {
        let most_output = exchange.most_output();
        let diagnostics = exchange.diagnostics;
        match end {
            End::Responded | End::Exited(0) => {
                self.give_back(instance);
                Ok(diagnostics)
            }
            End::Failed(reason) => {
                self.give_back(instance);
                Err(CallError::Failed { reason, diagnostics })
            }
            End::Exited(status) => {
                self.give_back(instance);
                Err(CallError::Exited { status, output: std::mem::take(exchange.output), diagnostics })
            }
            end => {
                let error = self.bad_end(&instance, &end, limits, most_output, diagnostics);
                self.discard(instance);
                Err(error)
            }
        }
    }

    /// The error for an end after which an instance is not used again.
    fn bad_end(
        &self,
        instance: &Instance,
        end: &End,
        limits: &Limits,
        most_output: u64,
        diagnostics: Vec<u8>,
    ) -> CallError {
        match end {
            End::TimedOut => CallError::Overran(Overrun::Time(limits.time.unwrap_or_default())),
            End::Aborted(Abort::TooMuchOutput) => CallError::Overran(Overrun::Output(most_output)),
            End::Aborted(_) | End::Asked(_) => CallError::Cancelled,
            End::Dead(Dead::HostMemory) if let Some(most) = limits.memory => {
                CallError::Overran(Overrun::Memory(most))
            }
            End::Dead(dead) => HostFailure::Dead(*dead).into(),
            end => match instance.report(end, None) {
                Some(report) => {
                    let (summary, report) = (report.summary().to_owned(), report.to_string());
                    CallError::Crashed { summary, report, diagnostics }
                }
                None => HostFailure::Unexpected.into(),
            },
        }
    }

    /// A clean instance: one that waits, or a new one, or one that another call gives back.
    fn take(&self, start: Instant, deadline: Option<Instant>) -> Result<Instance, CallError> {
        if let Some(instance) = self.idle.take() {
            return Ok(instance);
        }
        if let Some(instance) = self.create()? {
            return Ok(instance);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting += 1;
        let found = loop {
            if let Some(instance) = self.idle.take() {
                break Ok(instance);
            }
            match self.create() {
                Ok(Some(instance)) => break Ok(instance),
                Ok(None) => {}
                Err(error) => break Err(error.into()),
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break Err(CallError::Busy(start.elapsed()));
            }
            let left = left.unwrap_or(Duration::from_secs(1));
            waiting = self.freed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        *waiting -= 1;
        found
    }

    /// Tells one of those who wait that there is an instance, or room for one.
    fn tell_of_room(&self) {
        if *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.freed.notify_one();
        }
    }

    /// A new instance, if there may be one more.
    fn create(&self) -> Result<Option<Instance>, HostFailure> {
        let one_more = |live| (live < self.most).then_some(live + 1);
        if self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Ok(None);
        }
        match Instance::resume(&self.snapshot) {
            Ok(instance) => {
                self.counters.created.fetch_add(1, Ordering::Relaxed);
                Ok(Some(instance))
            }
            Err(error) => {
                self.live.fetch_sub(1, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    /// Takes an instance back whose run ended well.
    fn give_back(&self, mut instance: Instance) {
        match instance.count_written() {
            Ok(pages) if pages <= MANY_PAGES => self.clean(instance),
            Ok(_) => self.tasks.clean(instance),
            Err(_) => self.discard(instance),
        }
    }

    /// Makes an instance clean and keeps it for the next call.
    fn clean(&self, mut instance: Instance) {
        match instance.reset() {
            Ok(reset) => {
                self.counters.pages_copied.fetch_add(reset.copied as u64, Ordering::Relaxed);
                self.idle.give(instance);
                self.tell_of_room();
            }
            Err(_) => self.discard(instance),
        }
    }

    /// Throws an instance away, on the keeper's thread. It counts until it is gone: where guests die faster
    /// than the host takes their machines back, calls wait, and descriptors do not run out.
    fn discard(&self, instance: Instance) {
        self.counters.discarded.fetch_add(1, Ordering::Relaxed);
        self.tasks.discard(instance);
    }

    /// Gives an instance back to the host.
    fn destroy(&self, instance: Instance) {
        drop(instance);
        self.live.fetch_sub(1, Ordering::Relaxed);
        self.tell_of_room();
    }

    /// Makes instances until there are as many as there should be.
    fn fill(&self) {
        while self.live.load(Ordering::Relaxed) < self.least {
            // Where none can be made, the next call says why.
            let Ok(Some(instance)) = self.create() else { return };
            self.idle.give(instance);
            self.tell_of_room();
        }
    }

    /// Gives back instances that nobody has used for some time.
    fn shrink(&self) {
        let more = self.live.load(Ordering::Relaxed).saturating_sub(self.least);
        let unused = self.idle.take_unused(more, KEPT);
        self.live.fetch_sub(unused.len(), Ordering::Relaxed);
    }
}
