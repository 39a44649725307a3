//! Clocks that are read without leaving the virtual machine, and sleep.

mod counter;

pub use core::time::Duration;

use crate::{call, io};
use coracle_hypercall::event::EventSources;
use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// A moment of a clock that never runs backwards and is never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Instant {
        Instant(counter::monotonic())
    }

    /// The time since `earlier`, zero when that is later.
    #[must_use]
    pub const fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time since `earlier`, or `None` when that is later.
    #[must_use]
    pub fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// The time since this moment.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Instant::now().duration_since(self)
    }

    /// The moment so much later, if the clock can show it.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Instant)
    }

    /// The moment so much earlier, if the clock can show it.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(u64::try_from(duration.as_nanos()).ok()?).map(Instant)
    }

    /// What the machine's monotonic clock reads at this moment.
    pub(crate) const fn nanoseconds(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration).expect("the moment is beyond what the clock can show")
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        self.checked_sub(duration).expect("the moment is before what the clock can show")
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

/// A moment of the host's wall clock, which may be set. In nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTime(i128);

/// 1970-01-01 00:00 UTC.
pub const UNIX_EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

impl SystemTime {
    /// 1970-01-01 00:00 UTC.
    pub const UNIX_EPOCH: SystemTime = SystemTime(0);

    /// Now.
    #[must_use]
    pub fn now() -> SystemTime {
        // Until the year 2262 the sign is that of an i64: a clock set before 1970 is one too.
        SystemTime(i128::from(counter::wall() as i64))
    }

    /// The time since `earlier`.
    ///
    /// # Errors
    /// When `earlier` is later: how much.
    pub fn duration_since(self, earlier: SystemTime) -> Result<Duration, SystemTimeError> {
        let between = Duration::from_nanos_u128((self.0 - earlier.0).unsigned_abs());
        if self < earlier { Err(SystemTimeError(between)) } else { Ok(between) }
    }

    /// The time since this moment.
    ///
    /// # Errors
    /// When this moment is still to come: how far off it is.
    pub fn elapsed(self) -> Result<Duration, SystemTimeError> {
        SystemTime::now().duration_since(self)
    }
}

impl Add<Duration> for SystemTime {
    type Output = SystemTime;

    fn add(self, duration: Duration) -> SystemTime {
        SystemTime(self.0 + duration.as_nanos() as i128)
    }
}

impl Sub<Duration> for SystemTime {
    type Output = SystemTime;

    fn sub(self, duration: Duration) -> SystemTime {
        SystemTime(self.0 - duration.as_nanos() as i128)
    }
}

/// The second of two moments was the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemTimeError(Duration);

impl SystemTimeError {
    /// By how much.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for SystemTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the other time is {:?} later", self.0)
    }
}

impl core::error::Error for SystemTimeError {}

/// Sleeps, after standard output is flushed. An event that the program has subscribed to ends the
/// sleep early.
pub fn sleep(duration: Duration) {
    io::stdout::flush_before_waiting();
    let now = Instant::now();
    let deadline = now.checked_add(duration).map_or(u64::MAX, Instant::nanoseconds);
    // The only errors are an event, which ends the sleep, and those of a libos that is wrong.
    let _ = call::wait(EventSources::empty(), deadline);
}
