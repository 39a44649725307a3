//! Numbers for people.

use serde::Serialize;

/// What a subject's samples count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    BytesPerSecond,
    EventsPerSecond,
}

impl Unit {
    /// A value with three digits that count, and a unit of fitting size.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => scaled(value, 1000.0, &["ns", "µs", "ms", "s"]),
            Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
            Unit::BytesPerSecond => scaled(value, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s"]),
            Unit::EventsPerSecond => format!("{} /s", digits(value)),
        }
    }
}

fn scaled(mut value: f64, step: f64, names: &[&str]) -> String {
    let mut names = names.iter();
    let mut name = names.next().unwrap_or(&"");
    while value.abs() >= step {
        let Some(next) = names.next() else { break };
        value /= step;
        name = next;
    }
    format!("{} {name}", digits(value))
}

/// A number with about three digits that count.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => "<0.001".to_owned(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Unit;

    #[test]
    fn a_value_gets_the_unit_in_which_it_is_short() {
        assert_eq!(Unit::Nanoseconds.show(1_543_000.0), "1.54 ms");
        assert_eq!(Unit::Nanoseconds.show(24.04), "24.0 ns");
        assert_eq!(Unit::Nanoseconds.show(0.0123), "0.012 ns");
        assert_eq!(Unit::Bytes.show(9500.0), "9.28 KiB");
        assert_eq!(Unit::BytesPerSecond.show(1.25e9), "1.25 GB/s");
        assert_eq!(Unit::EventsPerSecond.show(251.0), "251 /s");
    }
}
