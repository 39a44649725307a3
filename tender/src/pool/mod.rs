//! Calls in clean instances: each in a machine that no other call has touched.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
//! use coracle_tender::{image::Image, instance::Config, machine::{Backend, Host}};
//! use coracle_tender::{pool::{Limits, Pool}, snapshot::Snapshot};
//! use std::{path::Path, sync::Arc, time::Duration};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let echo = image("handler-echo");
//! let host = Arc::new(Host::open(Backend::Auto)?);
//! # let _ = stringify!(
//! let image = Arc::new(Image::open(Path::new("handler-echo"))?);
//! # );
//! # let image = Arc::new(Image::open(&echo)?);
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
//! function is. [`Pool::call_async`] uses threads of the pool: as many as CPUs, more while all of those are
//! busy, never more than instances. They end when they had no work for 10 seconds. [`Pool::begin`] runs the
//! guest on the thread that calls for a millisecond at most; one that has not ended then is paused, and goes
//! on there. For such calls alone there may be as many threads again. An instance goes back to
//! the thread that used it last if that asks for one. One thread more makes instances, cleans those with a
//! lot to clean, and gives back those that nobody has used for some time.
//!
//! All threads of a pool end with its last handle. Calls that are in flight then end as they would have;
//! those that have not begun fail with [`HostFailure::Gone`].
//!
//! # Functions of the host
//!
//! A [function of the host](Builder::function) runs on the thread of the call that called it. Its guest waits
//! meanwhile, and keeps its instance. Nothing ends a function from outside: it has to return by
//! [`call_deadline`] itself, and a call whose time is up ends when it does.
//!
//! It may make calls itself, in another pool at any time. **A call in the same pool can wait for what it holds
//! up itself**: it needs one more instance while the outer call keeps its own, and where calls whose functions
//! wait so have all instances, none comes free before the inner calls' deadlines. They end with
//! [`CallError::Busy`] then. So give calls within calls a pool of their own; or else no more time than the
//! outer call has left, and the pool more instances than there are outer calls at once. A function that
//! holds a handle of its own pool keeps that pool alive.
//!
//! # Signals
//!
//! The library takes one signal for itself, [`kick_signal`](crate::machine::kick_signal): SIGRTMIN+3. It ends a
//! guest whose time is up. Its handler is installed at the first call in the process and stays: nobody else
//! may handle, ignore or wait for that signal. Beside it
//!
//! - no handler of any other signal is touched, and guests do not mind other signals: the thread carries out
//!   the program's handler and goes on with the guest;
//! - a thread that calls has the signal unblocked during the call, and its mask as it was afterwards;
//! - the timer of a call's deadline is not taken down when the call ends, but used again by the next. So a
//!   thread that makes calls may get the signal once more later. A system call that blocks then ends with
//!   `EINTR`, which the standard library mostly hides. Functions of the host see the same at the deadline;
//! - threads of the pool block all signals but this one and those of the CPU's faults: what is sent to the
//!   process is handled on the program's own threads.
//!
//! # Children
//!
//! Guests that run in processes ([`Backend::Process`](crate::machine::Backend::Process)) are children of this one,
//! traced by the threads that call. Each call stops such a child, and as of any child that is traced the kernel may
//! tell of it by SIGCHLD. A program that waits for *any* child (`waitpid(-1)`, `wait`) is told of these too, and then
//! the library is not: the guest ends with [`Dead::Reaped`](crate::machine::Dead::Reaped), as soon as that is noticed,
//! which for a stop is at the deadline; without one the call may not end. So wait for children by their numbers, or
//! with `__WNOTHREAD` on a thread that makes no calls.
//!
//! # Confinement
//!
//! Guests are walled in by the CPU or the kernel. Behind that wall, [`confined`](Builder::confined) makes a second
//! one of the kinds of system calls, for the threads of the pool; it needs the crate's feature `confine`.
//!
//! # Forks
//!
//! A pool belongs to the process that made it. In a child that is forked, calls fail with
//! [`HostFailure::Forked`] and the pool can be dropped; the parent goes on unharmed. The child may make a
//! snapshot and a pool of its own. A child that at once executes another program inherits nothing: all
//! descriptors close then.
//!
//! # What it takes of the machine
//!
//! | for each | it takes | limit |
//! |---|---|---|
//! | instance | in a VM 2 descriptors, in a process 3 ([`Host::descriptors_per_instance`]) | `ulimit -n` |
//! | | in a process, that process | `ulimit -u`, which counts all of the user's; the cgroup's `pids.max` |
//! | | in a process, a file in memory as large as what calls have used | the cgroup's `memory.max` |
//! | | one mapping for its memory, and some more | `sysctl vm.max_map_count` |
//! | | address space of the guest's memory; memory for what calls have changed | `ulimit -v` |
//! | | a thread of the kernel's, on some KVMs | `ulimit -u`, the cgroup's `pids.max` |
//! | thread that calls | one POSIX timer, and one more where guests are processes | `ulimit -i` |
//! | pool | its threads, with stacks of 1 MiB that are backed when used | `ulimit -u` |
//!
//! [`Host::descriptors_per_instance`]: crate::machine::Host::descriptors_per_instance
//!
//! Memory is never locked (`ulimit -l`). An instance that crashed is given back in the background: up to 16
//! such may be there beyond [`max`](Builder::max).
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
mod turn;
mod workers;

pub use builder::Builder;
pub use error::{CallError, Fault, HostFailure, Overrun};
pub use exchange::{Sink, Source};
pub use functions::call_deadline;
pub use future::Call;
pub use keeper::MOST_UNWANTED;
pub use limits::Limits;
pub use metrics::Metrics;
#[cfg(feature = "confine")]
pub(crate) use threads::cpus;
pub use turn::{Begun, Going};

use crate::forks::Process;
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
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
/// use coracle_tender::pool::{Fault, Limits, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let snapshot = snapshot("handler-template");
/// let pool = Pool::builder(snapshot).build()?;
/// let page = pool.call(br#"{"title": "Boats", "items": []}"#, Limits::new())?;
/// assert!(page.bytes.starts_with(b"<!doctype html>"));
///
/// let error = pool.call(b"no JSON", Limits::new()).unwrap_err();
/// assert_eq!(error.fault(), Fault::Guest);
///
/// let metrics = pool.metrics();
/// assert_eq!((metrics.answered, metrics.guest_failures), (1, 1));
/// # Ok(())
/// # }
/// ```
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
