//! What a call may use.

use std::time::{Duration, Instant};

/// What one call may use. [`Pool::builder`](super::Pool::builder) sets what holds where a call sets nothing.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
/// use coracle_tender::pool::{CallError, Limits, Overrun, Pool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let snapshot = snapshot("handler-expressions");
/// let pool = Pool::builder(snapshot).build()?;
/// let limits = Limits::new().time(Duration::from_millis(20)).memory(1 << 20).output(100);
/// let without_end = b"f(n) = if(n < 2, n, f(n - 1) + f(n - 2)); f(90)";
/// let error = pool.call(without_end, limits).unwrap_err();
/// assert!(matches!(error, CallError::Overran(Overrun::Time(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// How long it may take, the wait for an instance included.
    pub time: Option<Duration>,
    /// How many bytes of its heap it may use, what its snapshot has of it included.
    pub memory: Option<u64>,
    /// How many bytes it may put out.
    pub output: Option<u64>,
}

impl Limits {
    /// No limits but those of the pool.
    #[must_use]
    pub const fn new() -> Limits {
        Limits { time: None, memory: None, output: None }
    }

    /// The same with a limit on time.
    #[must_use]
    pub const fn time(self, time: Duration) -> Limits {
        Limits { time: Some(time), ..self }
    }

    /// The same with a limit on memory, in bytes.
    #[must_use]
    pub const fn memory(self, bytes: u64) -> Limits {
        Limits { memory: Some(bytes), ..self }
    }

    /// The same with a limit on output, in bytes.
    #[must_use]
    pub const fn output(self, bytes: u64) -> Limits {
        Limits { output: Some(bytes), ..self }
    }

    /// When a call that begins at `start` is to have ended.
    pub(super) fn deadline(&self, start: Instant) -> Option<Instant> {
        self.time.and_then(|time| start.checked_add(time))
    }

    /// The same, with what is not set taken from `other`.
    #[must_use]
    pub(super) fn or(self, other: Limits) -> Limits {
        Limits {
            time: self.time.or(other.time),
            memory: self.memory.or(other.memory),
            output: self.output.or(other.output),
        }
    }
}
