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

mod builder;
mod error;
mod exchange;
mod functions;
mod future;
mod keeper;
mod limits;
mod metrics;
mod running;
mod shards;
mod shared;
mod threads;
mod workers;

pub use builder::Builder;
pub use error::{CallError, Fault, HostFailure, Overrun};
pub use exchange::{Sink, Source};
pub use future::Call;
pub use limits::Limits;
pub use metrics::Metrics;

use crate::process::Process;
use crate::snapshot::Snapshot;
use exchange::Exchange;
use keeper::Tasks;
use running::{Made, Task};
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use workers::Workers;

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
struct EndOfPool {
    process: Process,
    tasks: Arc<Tasks>,
    workers: Arc<Workers>,
}

impl Drop for EndOfPool {
    fn drop(&mut self) {
        // A child of a fork does not have the threads, and what they had locked is locked for ever.
        if self.process.is_this() {
            self.tasks.end();
            self.workers.end();
        }
    }
}

impl Pool {
    /// Sets up a pool of instances of a snapshot.
    #[must_use]
    pub fn builder(snapshot: Arc<Snapshot>) -> Builder {
        Builder::new(snapshot)
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
        let task = Task { start, limits, requests: None };
        let Made { result, instance: _clean } = self.shared.call(&task, exchange);
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
