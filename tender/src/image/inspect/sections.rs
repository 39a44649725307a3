//! What the sections offer to a crash report: names and lines.

use object::elf::{FileHeader64, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader};
use object::{LittleEndian, ReadCache};
use serde::Serialize;
use std::fs::File;

/// The most sections that are looked at. Programs have a few dozen.
const MOST: usize = 4096;

/// What a crash report can draw on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sections {
    /// How many symbols there are, which name functions.
    pub symbols: u64,
    /// Whether there is debug information, which names functions, inlined ones too.
    pub debug_info: bool,
    /// Whether there are tables of source lines.
    pub lines: bool,
    /// Whether there are tables to unwind the stack with.
    pub unwind_tables: bool,
}

impl Sections {
    /// Reads the section headers and nothing else; nothing when the file has none that can be read.
    pub(super) fn of(file: &File) -> Option<Sections> {
        let data = ReadCache::new(file);
        let header = FileHeader64::<LittleEndian>::parse(&data).ok()?;
        let endian = header.endian().ok()?;
        // With more than 65,279 sections this is 0 and the true number elsewhere, without a bound.
        if header.e_shnum(endian) == 0 {
            return None;
        }
        let sections = header.section_headers(endian, &data).ok()?;
        let names = header.section_strings(endian, &data, sections).ok()?;
        let mut found = Sections::default();
        for section in sections.iter().take(MOST) {
            if section.sh_type(endian) == SHT_SYMTAB {
                found.symbols = section.sh_size(endian) / 24;
            }
            match section.name(endian, names) {
                Ok(b".debug_info") => found.debug_info = true,
                Ok(b".debug_line") => found.lines = true,
                Ok(b".eh_frame") => found.unwind_tables = true,
                _ => {}
            }
        }
        Some(found)
    }
}
