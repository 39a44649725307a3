//! Shows what time it is, how long a sleep takes, and what it costs to look.
//!
//! ```console
//! $ cargo run --release
//! 2026-11-21 08:15:30.123456789 UTC
//! a sleep of 50 ms took 50.08 ms
//! one look at the clock takes 28 ns
//! ```
#![no_std]
#![no_main]

use coracle::println;
use coracle::time::{Duration, Instant, SystemTime, UNIX_EPOCH, sleep};

#[coracle::main]
fn main() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let (seconds, nanoseconds) = (now.as_secs(), now.subsec_nanos());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    println!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanoseconds:09} UTC");

    let start = Instant::now();
    sleep(Duration::from_millis(50));
    println!("a sleep of 50 ms took {:.2} ms", start.elapsed().as_secs_f64() * 1e3);

    let (start, mut looks) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(50) {
        looks += 1;
    }
    println!("one look at the clock takes {} ns", (start.elapsed() / looks).as_nanos());
}

/// The year, month and day that a count of days since 1970-01-01 leads to.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on, so that the day that leap years add is a year's last (after Howard
    // Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}
