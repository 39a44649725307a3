//! How a pool is set up.

use super::error::HostFailure;
use super::functions::Functions;
use super::limits::Limits;
use super::shared::Shared;
use super::{EndOfPool, Pool, keeper};
use crate::calls::LogEntry;
use crate::forks::Process;
use crate::snapshot::Snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// For how long an instance that nobody uses is kept.
const KEPT: Duration = Duration::from_secs(10);

/// Where log records go.
pub(super) type Log = Box<dyn Fn(&LogEntry<'_>) + Send + Sync>;

/// Sets a pool up.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
/// use coracle_tender::pool::{Limits, Pool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let snapshot = snapshot("handler-expressions");
/// let pool = Pool::builder(snapshot)
///     .min(2)
///     .max(16)
///     .deadline(Duration::from_millis(500))
///     .memory(16 << 20)
///     .output(1024)
///     .build()?;
/// assert_eq!(pool.call(b"6 * 7", Limits::new())?.bytes, b"42");
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) limits: Limits,
    pub(super) functions: Functions,
    pub(super) log: Option<Log>,
    pub(super) kept: Duration,
    pub(super) confined: bool,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Builder {
        let limits = Limits::new().time(Duration::from_secs(10)).output(64 << 20);
        let functions = Functions::default();
        Builder { snapshot, least: 1, most: 64, limits, functions, log: None, kept: KEPT, confined: false }
    }

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
    /// runs on the thread of the call, and may run on several at once; the guest waits for it. One that waits
    /// itself gives up at [`call_deadline`](super::call_deadline). A panic counts as a failure. An argument
    /// that is not of its type is refused before it runs.
    ///
    /// The guest declares it with `coracle::host_functions!`: an only parameter is passed as it is, several
    /// as a tuple, none as `()`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
    /// use coracle_tender::pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let snapshot = snapshot("handler-expressions");
    /// // The guest hands its numbers over as a list.
    /// let pool = Pool::builder(snapshot)
    ///     .function("price", |[item]: [f64; 1]| if item == 2.0 { Ok(2.5) } else { Err("not for sale") })
    ///     .build()?;
    /// assert_eq!(pool.call(b"3 * price(2)", Limits::new())?.bytes, b"7.5");
    /// let error = pool.call(b"price(3)", Limits::new()).unwrap_err();
    /// assert!(error.to_string().contains("not for sale"));
    /// # Ok(())
    /// # }
    /// ```
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

    /// For how long an instance beyond the least number is kept that nobody uses. Without it, 10 seconds.
    /// It is looked for such instances once a second.
    #[must_use]
    pub fn keep(self, unused: Duration) -> Builder {
        Builder { kept: unused, ..self }
    }

    /// Whether the pool's own threads make no system calls but those that running guests takes: a filter of
    /// seccomp's ends the process with SIGSYS at any other. Without it, they are as the thread that builds the
    /// pool.
    ///
    /// What this pool is given runs on such threads as well, and may do no more: functions of the host, the
    /// log, sources and sinks. They may lock, compute, and write to what is open. Calls by
    /// [`Pool::call`] and [`Pool::begin`] run guests on the thread that calls, which stays as it is.
    ///
    /// Threads share their memory. A guest that broke out onto a confined thread could still have others do for
    /// it what that may not: so this is a hurdle where the rest of the program is free to do as it likes, and a wall
    /// only where all of it is [confined](crate::confine).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
    /// use coracle_tender::pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let snapshot = snapshot("handler-echo");
    /// let pool = Pool::builder(snapshot).confined(true).build()?;
    /// let output = futures_executor::block_on(pool.call_async("Hello", Limits::new()))?;
    /// assert_eq!(output.bytes, b"Hello");
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "confine")]
    #[must_use]
    pub fn confined(self, confined: bool) -> Builder {
        Builder { confined, ..self }
    }

    /// Makes the pool and its first instance; further ones follow meanwhile.
    ///
    /// # Errors
    /// When no instance can be made, or no thread be started.
    pub fn build(self) -> Result<Pool, HostFailure> {
        let shared = Arc::new(Shared::new(self));
        shared.prepare()?;
        keeper::start(&shared).map_err(HostFailure::Thread)?;
        shared.tasks.fill();
        let end = EndOfPool {
            process: Process::this(),
            tasks: Arc::clone(&shared.tasks),
            workers: Arc::clone(&shared.workers),
        };
        Ok(Pool { shared, _end: Arc::new(end) })
    }
}
