//! How a report is printed.

use super::{Function, Hex, Line, Report};
use crate::text::escape;
use std::fmt::{self, Display, Write};

/// How many registers stand in one line of a dump.
const COLUMNS: usize = 4;

/// How long a name or a path may be; the rest of a longer one is not shown.
const MAX_NAME: usize = 1000;

/// A number of bytes in words.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(size, _)| count >= *size) {
        None if count == 1 => "1 byte".to_owned(),
        Some((size, unit)) if count.is_multiple_of(size) => format!("{} {unit}", count / size),
        // Small distances are looked for in the source: they are said exactly.
        Some((size, unit)) if count >= 16 << 10 => format!("{:.1} {unit}", count as f64 / size as f64),
        _ => format!("{count} bytes"),
    }
}

/// Bytes as they are written in a row.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes as they are written in a listing.
pub(super) fn spaced_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Shows a name or a path on one line, cut when it is very long.
pub(super) fn escape_name(text: &str) -> String {
    let mut shown = escape(&text.chars().take(MAX_NAME).collect::<String>());
    if text.chars().nth(MAX_NAME).is_some() {
        shown.push('…');
    }
    shown
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "coracle: {}", self.headline)?;
        if let Some(message) = &self.message {
            writeln!(f, "{message}")?;
        }
        let shown = self.trace.get(self.panic_lines..).unwrap_or(&self.trace);
        let first = match shown.first() {
            Some(Line::Frame { number, .. }) => *number,
            _ => 0,
        };
        for line in shown {
            write_line(line, first, f)?;
        }
        if let Some(end) = &self.trace_end {
            writeln!(f, "      (the trace ends here: {end})")?;
        }
        if let Some(registers) = &self.registers {
            write_registers(registers, f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// Writes a line of a trace whose first line has the number `first`.
fn write_line(line: &Line, first: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match line {
        Line::Frame { number, place, functions, .. } => {
            write!(f, "{:>4}: ", number.saturating_sub(first))?;
            if functions.is_empty() {
                writeln!(f, "{place}")?;
            }
            for (index, function) in functions.iter().enumerate() {
                let indent = if index == 0 { "" } else { "      " };
                write!(f, "{indent}{function}")?;
            }
            Ok(())
        }
        Line::Repeated { frames: 1, times } => writeln!(f, "      … the same frame {times} more times"),
        Line::Repeated { frames, times } => writeln!(f, "      … these {frames} frames {times} more times"),
        Line::LeftOut { frames } => writeln!(f, "      … {frames} more frames"),
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(offset) = self.offset.filter(|_| self.location.is_none()) {
            write!(f, "+{offset:#x}")?;
        }
        f.write_char('\n')?;
        let Some(location) = &self.location else { return Ok(()) };
        write!(f, "             at {}", location.file)?;
        if location.line > 0 {
            write!(f, ":{}", location.line)?;
            if location.column > 0 {
                write!(f, ":{}", location.column)?;
            }
        }
        f.write_char('\n')
    }
}

fn write_registers(registers: &[(&'static str, Hex)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for line in registers.chunks(COLUMNS) {
        for (index, (name, Hex(value))) in line.iter().enumerate() {
            let gap = if index == 0 { "  " } else { "   " };
            write!(f, "{gap}{name:<5} {value:016x}")?;
        }
        f.write_char('\n')?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{bytes, escape_name};

    #[test]
    fn distances_are_exact_when_small_and_short_when_large() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(24), "24 bytes");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(4100), "4100 bytes");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
    }

    #[test]
    fn a_guest_cannot_reach_the_terminal_through_a_report() {
        assert_eq!(escape_name("a\nb\x07"), "a\\nb\\u{7}");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(escape_name(&"é".repeat(5000)).chars().count(), 1001);
    }
}
