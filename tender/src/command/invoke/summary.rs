//! How long the calls took.

use super::callee::Called;
use crate::command::say::say;
use serde_json::json;
use std::io::{self, Write};
use std::time::Duration;

/// How long the calls took that there were.
#[derive(Debug, Default)]
pub(super) struct Summary {
    times: Vec<Duration>,
    failed: usize,
}

impl Summary {
    pub(super) fn add(&mut self, called: &Called) {
        self.times.push(called.took);
        self.failed += usize::from(called.result.is_err());
    }

    /// Shows it if there was more than one call: on standard error, or as a line of JSON on standard output.
    pub(super) fn show(mut self, whole: Duration, json: bool) -> io::Result<u8> {
        if self.times.len() < 2 {
            return Ok(0);
        }
        self.times.sort_unstable();
        let rate = self.times.len() as f64 / whole.as_secs_f64();
        let [min, median, p90, p99, max] = [0, 500, 900, 990, 1000].map(|part| self.at(part));
        if json {
            let seconds = |time: Duration| time.as_secs_f64();
            let summary = json!({"summary": {
                "calls": self.times.len(),
                "failed": self.failed,
                "seconds": seconds(whole),
                "calls_per_second": rate,
                "min": seconds(min),
                "median": seconds(median),
                "p90": seconds(p90),
                "p99": seconds(p99),
                "max": seconds(max),
            }});
            writeln!(io::stdout(), "{summary}")?;
        } else {
            say(format_args!(
                "{} calls in {whole:.1?}, {rate:.0} per second, {} failed\n\
                 min {min:.1?}, median {median:.1?}, p90 {p90:.1?}, p99 {p99:.1?}, max {max:.1?}\n",
                self.times.len(),
                self.failed,
            ));
        }
        Ok(0)
    }

    /// The time that so many thousandths of the calls took at most.
    fn at(&self, thousandths: usize) -> Duration {
        let rank = (self.times.len() * thousandths).div_ceil(1000).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use std::time::Duration;

    #[test]
    fn a_percentile_is_the_least_time_that_so_many_calls_did_not_exceed() {
        let times = (1..=10).map(Duration::from_millis).collect();
        let summary = Summary { times, failed: 0 };
        let found = [0, 500, 900, 990, 1000].map(|part| summary.at(part).as_millis());
        assert_eq!(found, [1, 5, 9, 10, 10]);
    }
}
