//! The clock page. How a guest reads it is said in `coracle_hypercall::clock`.

use crate::layout::{BOOT, CLOCK_OFFSET};
use crate::memory::Memory;
use coracle_hypercall::clock::ClockPage;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zerocopy::IntoBytes;

/// For how long a guest uses the same parameters. A counter that is a hundred parts in a million
/// off, which is more than any is, is then wrong by a tenth of a millisecond.
const VALID: Duration = Duration::from_secs(1);

/// The clock of one instance.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Whether the counter ticks at one rate.
    constant: bool,
    /// The counter's rate, once it was asked for, where it can be trusted.
    khz: Option<Option<u32>>,
    sequence: u32,
}

impl Clock {
    /// A clock that read zero at `start`. `constant` says whether the time stamp counter ticks at one rate:
    /// else it is not trusted.
    #[must_use]
    pub fn since(start: Instant, constant: bool) -> Clock {
        Clock { start, constant, khz: None, sequence: 0 }
    }

    /// Asks for the rate of the guest's time stamp counter unless it is known. Most guests never look at the
    /// clock, so no start waits for that.
    pub(crate) fn learn_rate(&mut self, ask: impl FnOnce() -> Option<u32>) {
        let constant = self.constant;
        self.khz.get_or_insert_with(|| ask().filter(|_| constant));
    }

    /// Nanoseconds on the guest's monotonic clock.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Its next page tells nothing of those before.
    pub(crate) fn forget(&mut self) {
        self.sequence = 0;
    }

    /// Writes the page anew for a guest whose counter read `tsc` when it called. Its clock is ahead of the host's by
    /// the time that the call took to get here.
    pub(super) fn refresh(&mut self, tsc: u64, memory: &Memory) -> io::Result<u64> {
        let monotonic_ns = self.monotonic_ns();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ns = wall.as_nanos() as u64;
        self.sequence = self.sequence.wrapping_add(2);
        let khz = self.khz.flatten();
        let (multiplier, shift, valid_ticks) = khz.map_or((0, 0, 0), scale);
        let page = ClockPage {
            sequence: self.sequence,
            shift,
            tsc,
            valid_ticks,
            multiplier,
            monotonic_ns,
            wall_offset_ns: wall_ns.wrapping_sub(monotonic_ns),
            trusted: u32::from(khz.is_some()),
            reserved: 0,
        };
        // The only vCPU waits for this call: nobody reads the page meanwhile.
        memory.write(BOOT + CLOCK_OFFSET, page.as_bytes()).map_err(io::Error::other)?;
        Ok(0)
    }
}

/// Multiplier, shift and validity for a counter of so many kHz: the most digits with which a
/// product of two 32-bit numbers does not overflow.
fn scale(khz: u32) -> (u64, u32, u64) {
    let khz = u128::from(khz.max(1));
    let shift = (0..=32).rev().find(|shift| (1_000_000_u128 << shift) / khz < 1 << 32).unwrap_or(0);
    let multiplier = ((1_000_000_u128 << shift) + khz / 2) / khz;
    let ticks = khz * VALID.as_millis();
    (multiplier as u64, shift, ticks.min((1 << 32) - 1) as u64)
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn a_second_of_ticks_is_a_second_of_nanoseconds_at_every_rate() {
        for khz in [1_000, 50_000, 999_999, 1_000_000, 2_400_000, 3_999_999] {
            let (multiplier, shift, _) = scale(khz);
            let ns = (u64::from(khz) * 1000 * multiplier) >> shift;
            assert!(ns.abs_diff(1_000_000_000) < 1_000, "{khz} kHz: {ns}");
        }
    }

    #[test]
    fn no_product_within_the_validity_overflows() {
        for khz in [1, 1_000, 50_000, 1_000_000, 6_000_000, u32::MAX] {
            let (multiplier, _, valid) = scale(khz);
            assert!(multiplier.checked_mul(valid).is_some(), "{khz} kHz");
        }
    }
}
