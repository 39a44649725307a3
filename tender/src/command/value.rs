//! Values of options: sizes, durations, variables; and sizes as they are said.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// A size in bytes: a number with a suffix K, M, G or T, powers of 1024, or a whole number without.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = split(text);
    let factor: u64 = match unit.trim_end_matches("iB").trim_end_matches(['B', 'b']) {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        "t" | "T" => 1 << 40,
        _ => return Err(format!("\"{unit}\" is not a unit of size: use K, M, G or T, as in 64M")),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if digits.contains('.') && factor == 1 {
        return Err("a fraction needs a unit: K, M, G or T, as in 1.5G".to_owned());
    }
    let number = |text: &str| {
        let number = text.parse::<u64>().ok().filter(|_| text.len() <= MOST_DIGITS);
        number.ok_or_else(|| "a size is a number with a unit, such as 64M or 1.5G".to_owned())
    };
    // With so few digits neither product overflows.
    let scale = 10_u128.pow(fraction.len().min(MOST_DIGITS) as u32);
    let part = u128::from(number(fraction)?) * u128::from(factor) / scale;
    let size = u128::from(number(whole)?) * u128::from(factor) + part;
    u64::try_from(size).map_err(|_| "that is more than any machine has".to_owned())
}

/// The digits that every number of 64 bits has room for.
const MOST_DIGITS: usize = 19;

/// A duration: a number with an optional suffix ms, s, m or h; without one, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = split(text);
    let seconds: f64 = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("\"{unit}\" is not a unit of time: use ms, s, m or h, as in 5s")),
    };
    let number: f64 =
        digits.parse().map_err(|_| "a duration is a number with a unit, such as 5s or 100ms".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "that duration is out of range".to_owned())
}

/// A number of bytes for a person.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| count >= *unit) {
        // For show only: what is lost above 2^53 is far behind the point.
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / unit as f64),
        None => format!("{count} bytes"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(unit)
}

/// A variable, `KEY=VALUE`, or `KEY` alone for the one of the tender's own environment.
pub(super) fn variable(text: OsString) -> Result<(OsString, OsString), String> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err("a variable needs a name before its =".to_owned()),
        Some(at) => {
            let (key, value) = bytes.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            Ok((OsString::from_vec(key.to_vec()), OsString::from_vec(value.to_vec())))
        }
        None => match std::env::var_os(&text) {
            Some(value) => Ok((text, value)),
            None => Err(format!(
                "{0} is not set here: pass --env {0}=VALUE, or set it first",
                text.to_string_lossy()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, size};
    use std::time::Duration;

    #[test]
    fn sizes_take_binary_suffixes() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!(size("512KiB"), Ok(512 << 10));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("0064M"), Ok(64 << 20));
        assert!(
            size("64X").is_err() && size("M").is_err() && size("99999999T").is_err() && size("").is_err()
        );
    }

    #[test]
    fn sizes_take_fractions_of_a_unit() {
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("0.25K"), Ok(256));
        assert_eq!(size("1.0001K"), Ok(1024));
        assert!(size("1.5").is_err_and(|words| words.contains("1.5G")));
        assert!(size("1.G").is_err() && size(".5G").is_err() && size("1.5.5G").is_err());
        assert!(size(&format!("1.{}G", "0".repeat(100))).is_err());
    }

    #[test]
    fn durations_take_the_usual_suffixes() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("5 parsecs").is_err() && duration("").is_err() && duration("-1s").is_err());
    }
}
