//! The time by the time stamp counter and the clock page.
//!
//! [`ClockPage`] says how the one becomes the other. A reading costs no exit but about one in a
//! second, and every one where the tender does not trust the counter.

use crate::sync::threads_run_at_once;
use crate::{boot, call};
use coracle_hypercall::clock::ClockPage;
use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// The largest monotonic time that was given out: what keeps it from running backwards when the
/// parameters change.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The monotonic clock in nanoseconds.
pub(super) fn monotonic() -> u64 {
    let now = read().monotonic;
    if threads_run_at_once() {
        return LAST.fetch_max(now, Ordering::Relaxed).max(now);
    }
    let latest = LAST.load(Ordering::Relaxed).max(now);
    LAST.store(latest, Ordering::Relaxed);
    latest
}

/// Nanoseconds since 1970, wrapping.
pub(super) fn wall() -> u64 {
    let reading = read();
    reading.monotonic.wrapping_add(reading.wall_offset)
}

struct Reading {
    monotonic: u64,
    wall_offset: u64,
}

fn read() -> Reading {
    let (page, now) = (page(), ticks());
    let elapsed = now.wrapping_sub(page.tsc);
    if elapsed < page.valid_ticks { reading(&page, elapsed) } else { read_after_call(now) }
}

/// The page has run out: the tender writes it anew. It did so a moment ago when the next reading of
/// the counter is taken, so the page's own time is right where the counter is not.
///
/// The page pairs the counter before the call with the host's time during it. Where the host did
/// something else in between, the two are far apart, and all readings from the page would be off by
/// that much: then the call is made again, a few times at most.
#[cold]
fn read_after_call(mut now: u64) -> Reading {
    const TRIES: u32 = 4;
    /// About half a millisecond on today's machines.
    const CLOSE: u64 = 1 << 20;
    let mut tries = 0;
    loop {
        // A refusal leaves the page as it is, which is as near to the time as can be had.
        let _ = call::clock(now);
        let page = page();
        now = ticks();
        let elapsed = now.wrapping_sub(page.tsc);
        tries += 1;
        if elapsed < CLOSE || page.valid_ticks == 0 || tries == TRIES {
            return reading(&page, if elapsed < page.valid_ticks { elapsed } else { 0 });
        }
    }
}

fn reading(page: &ClockPage, elapsed: u64) -> Reading {
    // `elapsed` is below 2^32 where it counts, so the product fits.
    let since = elapsed.wrapping_mul(page.multiplier) >> (page.shift & 63);
    Reading { monotonic: page.monotonic_ns.wrapping_add(since), wall_offset: page.wall_offset_ns }
}

/// The time stamp counter, not read before earlier instructions are done.
fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has both instructions.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// A copy of the clock page that the tender did not change meanwhile.
fn page() -> ClockPage {
    let place = core::ptr::with_exposed_provenance::<ClockPage>(boot::info().clock.0 as usize);
    loop {
        // SAFETY: the tender keeps a clock page there. What it changes during a read is thrown away.
        let page = unsafe { place.read_volatile() };
        fence(Ordering::Acquire);
        // SAFETY: as above.
        let after = unsafe { (&raw const (*place).sequence).read_volatile() };
        if page.sequence == after && after & 1 == 0 {
            return page;
        }
        core::hint::spin_loop();
    }
}
