//! Time without a call.
//!
//! The tender keeps one [`ClockPage`], which the guest may only read. From it and from its own time
//! stamp counter the guest computes the time:
//!
//! ```text
//!   elapsed   = ticks(now) - tsc                      (64-bit, wrapping)
//!   monotonic = monotonic_ns + (elapsed * multiplier) >> shift
//!   wall      = monotonic + wall_offset_ns            (wrapping)
//! ```
//!
//! That holds while `elapsed < valid_ticks`, which is less than 2^32, so that the product fits 64
//! bits. After that the guest makes a [`Clock`](crate::call::Call::Clock) call, upon which the
//! tender writes the page anew; so errors of the counter's frequency do not add up, and a wall
//! clock that was set is noticed within about a second. `valid_ticks` is 0 before the first such
//! call, and always where the tender knows the counter not to be trusted: there every reading costs
//! a call. A guest reads monotonic time that does not run backwards by keeping the largest value it
//! has returned.
//!
//! With more than one vCPU the page may change while it is read: `sequence` is odd while the tender
//! writes; a reader takes the fields between two readings of the same even `sequence`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The parameters of the clock. See the [module](self) for how to use them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClockPage {
    /// Odd while the page is being written; grows by two with each change.
    pub sequence: u32,
    /// The binary digits to shift the product to the right by, 0 to 32.
    pub shift: u32,
    /// The guest's time stamp counter that the other fields belong to.
    pub tsc: u64,
    /// For how many ticks after `tsc` the parameters hold.
    pub valid_ticks: u64,
    /// Nanoseconds for one tick, times 2^`shift`.
    pub multiplier: u64,
    /// The host's monotonic clock at `tsc`, in nanoseconds. Its zero is the tender's to choose.
    pub monotonic_ns: u64,
    /// What to add to monotonic time for nanoseconds since 1970-01-01 00:00 UTC, wrapping.
    pub wall_offset_ns: u64,
    /// 1 where the counter is known to tick at a constant rate, else 0.
    pub trusted: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

crate::assert_layout!(
    ClockPage,
    size 56,
    sequence @ 0,
    shift @ 4,
    tsc @ 8,
    valid_ticks @ 16,
    multiplier @ 24,
    monotonic_ns @ 32,
    wall_offset_ns @ 40,
    trusted @ 48,
    reserved @ 52,
);
