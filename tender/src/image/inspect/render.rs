//! An inspection for a person to read.

use super::{Inspection, Sections};
use coracle_hypercall::note::Program;
use std::fmt::{self, Display, Formatter};

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.path, Size(self.file_size))?;
        self.write_identity(f)?;
        self.write_memory(f)?;
        self.write_links(f)?;
        match &self.refusal {
            None => line(f, "verdict", &"`coracle run` takes it"),
            Some(refusal) => line(f, "refused", refusal),
        }
    }
}

impl Inspection {
    fn write_identity(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(kind) = &self.kind {
            line(f, "kind", &format_args!("x86-64 program, {kind}"))?;
        }
        match &self.contract {
            Some(version) => {
                line(f, "contract", &format_args!("{version} (this tender speaks {})", self.tender_contract))?
            }
            None if self.kind.is_some() => line(f, "contract", &"no note")?,
            None => {}
        }
        if let Some(program) = self.program.filter(|program| *program != Program::Main.label()) {
            line(f, "program", &program)?;
        }
        if !self.permissions.is_empty() {
            line(f, "asks for", &self.permissions.join(", "))?;
        }
        if let Some(id) = &self.build_id {
            line(f, "build id", id)?;
        }
        if let Some(entry) = self.entry {
            line(f, "entry", &format_args!("{entry:#x}"))?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut label = "segments";
        if !self.segments.is_empty() {
            row(f, label, ["address", "rights", "in memory", "in file"])?;
            label = "";
        }
        for segment in &self.segments {
            let address = format!("{:#x}", segment.address);
            let (memory, file) = (Size(segment.size).to_string(), Size(segment.file_size).to_string());
            row(f, label, [&address, &segment.rights, &memory, &file])?;
        }
        for part in &self.relro {
            line(
                f,
                "relro",
                &format_args!("{:#x}, {}, read-only once relocated", part.address, Size(part.size)),
            )?;
        }
        if let Some(tls) = &self.tls {
            line(
                f,
                "thread-local",
                &format_args!(
                    "{} of which {} from {:#x}, aligned to {}",
                    Size(tls.size),
                    Size(tls.file_size),
                    tls.address,
                    tls.align
                ),
            )?;
        }
        if self.executable_stack {
            line(f, "stack", &"executable")?;
        }
        if let Some(memory) = self.memory {
            line(f, "memory", &format_args!("{} in pages, before stack and heap", Size(memory)))?;
        }
        Ok(())
    }

    fn write_links(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(counts) = &self.relocations {
            let packed =
                if counts.packed > 0 { format!(" ({} packed)", counts.packed) } else { String::new() };
            line(
                f,
                "relocations",
                &format_args!("{} relative{packed}, {} with symbols", counts.relative, counts.symbolic),
            )?;
        }
        if !self.libraries.is_empty() {
            line(f, "libraries", &self.libraries.join(", "))?;
        }
        if let Some(path) = &self.interpreter {
            line(f, "interpreter", &format_args!("{path} (ignored by a tender)"))?;
        }
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|note| format!("{} {} ({})", note.owner, note.note_type, Size(note.size)))
            .collect();
        if !notes.is_empty() {
            line(f, "notes", &notes.join(", "))?;
        }
        match &self.sections {
            Some(sections) => line(f, "crash reports", &sections.in_words()),
            None => Ok(()),
        }
    }
}

impl Sections {
    fn in_words(&self) -> String {
        let names = match (self.symbols, self.debug_info) {
            (_, true) => "function names, inlined ones too".to_owned(),
            (0, false) => "no function names (stripped)".to_owned(),
            (symbols, false) => format!("function names ({symbols} symbols)"),
        };
        let lines = if self.lines { "source lines" } else { "no source lines" };
        let unwind = if self.unwind_tables { "unwind tables" } else { "no unwind tables" };
        format!("{names}; {lines}; {unwind}")
    }
}

/// A line of an inspection.
pub(crate) fn line(f: &mut Formatter<'_>, label: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "  {label:<14} {value}")
}

fn row(f: &mut Formatter<'_>, label: &str, [address, rights, memory, file]: [&str; 4]) -> fmt::Result {
    writeln!(f, "  {label:<14} {address:<16} {rights:<6} {memory:>11} {file:>11}")
}

/// A number of bytes as a person says it.
pub(crate) struct Size(pub(crate) u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // For show only: what is lost above 2^53 is far behind the point.
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS.get(unit).unwrap_or(&""))
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_keeps_it_above_one() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!([shown(0), shown(1023), shown(1536)], ["0 B", "1023 B", "1.5 KiB"]);
        assert_eq!([shown(3 << 20), shown(u64::MAX)], ["3.0 MiB", "16777216.0 TiB"]);
    }
}
