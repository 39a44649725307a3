//! What is counted on the way.

use crate::machine::Counters;
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts and times of one reason to come back to the tender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ExitStatistics {
    /// How often.
    pub count: u64,
    /// Nanoseconds that the tender took in all.
    pub total_ns: u64,
    /// The upper bound of the median in nanoseconds: times are kept in classes a quarter of an
    /// octave wide.
    pub median_ns: u64,
    #[serde(skip)]
    classes: Classes,
}

/// How many times fell into each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Classes([u32; CLASSES]);

const PER_OCTAVE: u32 = 4;
const CLASSES: usize = 64 * PER_OCTAVE as usize;

impl Default for Classes {
    fn default() -> Classes {
        Classes([0; CLASSES])
    }
}

/// The class of a time: four to each power of two.
fn class(ns: u64) -> usize {
    let octave = ns.max(1).ilog2();
    let quarter = if octave >= 2 { ns >> (octave - 2) & 3 } else { 0 };
    (octave * PER_OCTAVE) as usize + quarter as usize
}

/// The largest time of a class.
fn class_end(class: usize) -> u64 {
    let (octave, quarter) = (class as u32 / PER_OCTAVE, class as u64 % u64::from(PER_OCTAVE));
    let start = 1_u64 << octave;
    (start - 1 + start / 4 * (quarter + 1)).max(start)
}

impl ExitStatistics {
    fn add(&mut self, taken: Duration) {
        let ns = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        if let Some(count) = self.classes.0.get_mut(class(ns)) {
            *count = count.saturating_add(1);
        }
    }

    /// Finds the median of what was added.
    fn find_median(&mut self) {
        let mut seen = 0;
        let half = self.count.div_ceil(2);
        for (class, count) in self.classes.0.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= half {
                self.median_ns = class_end(class);
                break;
            }
        }
    }
}

/// What was counted for one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Statistics {
    /// Exits to the tender by reason.
    pub exits: BTreeMap<&'static str, ExitStatistics>,
    /// Nanoseconds from the first instruction to the end.
    pub run_ns: u64,
    /// What the host counted by itself, where it does.
    pub host: Option<Counters>,
}

impl Statistics {
    pub(super) fn add(&mut self, reason: &'static str, taken: Duration) {
        self.exits.entry(reason).or_default().add(taken);
    }

    /// Finds the medians, which costs too much to be done at each exit.
    pub(super) fn find_medians(&mut self) {
        self.exits.values_mut().for_each(ExitStatistics::find_median);
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitStatistics, class, class_end};
    use std::time::Duration;

    #[test]
    fn a_time_is_never_above_the_end_of_its_class_and_at_most_a_quarter_below() {
        for ns in (4..100_000).chain([u64::MAX / 3, u64::MAX]) {
            let end = class_end(class(ns));
            assert!(ns <= end && end - ns <= ns / 4, "{ns} in a class that ends at {end}");
        }
    }

    #[test]
    fn the_median_ignores_outliers() {
        let mut statistics = ExitStatistics::default();
        for ns in [1_000, 1_000, 1_000, 1_000_000, 9_000_000] {
            statistics.add(Duration::from_nanos(ns));
        }
        statistics.find_median();
        assert!((1_000..1_250).contains(&statistics.median_ns));
        assert_eq!(statistics.count, 5);
    }
}
