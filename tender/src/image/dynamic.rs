//! The dynamic section: where the tables of relocations and symbols are.

use super::error::Refusal;
use super::header::Header;
use super::segments::Segments;
use super::source::{Source, printable};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{
    DT_JMPREL, DT_NEEDED, DT_PLTREL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELAENT, DT_RELASZ, DT_STRTAB,
    DT_SYMENT, DT_SYMTAB, Dynamic as Entries,
};
use goblin::elf::program_header::{PT_DYNAMIC, ProgramHeader};
use goblin::elf64::reloc::SIZEOF_RELA;
use goblin::elf64::sym::SIZEOF_SYM;

/// The tags of packed relative relocations, which goblin does not name.
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELRENT: u64 = 37;

/// How goblin is to read everything.
pub(super) const CONTEXT: Ctx = Ctx { container: Container::Big, le: Endian::Little };

/// The most bytes of the section. Linkers make about 500.
const MOST_BYTES: u64 = 64 * 1024;

/// The longest symbol or library name that is shown.
const LONGEST_NAME: u64 = 256;

/// A table in loaded memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Table {
    pub(super) address: u64,
    pub(super) size: u64,
}

/// What the dynamic section says.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    /// Where in the table of strings the names of shared libraries are.
    needed: Vec<u64>,
    pub(super) rela: Table,
    /// More of the same, for functions.
    pub(super) plt: Table,
    /// Packed relative relocations.
    pub(super) relr: Table,
    pub(super) symbols: Option<u64>,
    strings: Option<u64>,
}

impl Dynamic {
    /// Reads the section, if there is one.
    pub(super) fn read(source: &Source<'_>, header: &Header) -> Result<Dynamic, Refusal> {
        let mut dynamic = Dynamic::default();
        let Some(segment) = header.of_type(PT_DYNAMIC).next() else { return Ok(dynamic) };
        if segment.p_filesz > MOST_BYTES {
            return Err(malformed("it is larger than 64 KiB"));
        }
        let bytes = source.read("dynamic section", segment.p_offset, segment.p_filesz)?;
        // goblin looks for the section in a whole file: here it is the whole file.
        let whole =
            ProgramHeader { p_type: PT_DYNAMIC, p_filesz: segment.p_filesz, ..ProgramHeader::default() };
        let entries =
            Entries::parse(&bytes, &[whole], CONTEXT).map_err(|_| malformed("it cannot be read"))?;
        for entry in entries.iter().flat_map(|entries| &entries.dyns) {
            dynamic.add(entry.d_tag, entry.d_val)?;
        }
        Ok(dynamic)
    }

    fn add(&mut self, tag: u64, value: u64) -> Result<(), Refusal> {
        match tag {
            DT_NEEDED => self.needed.push(value),
            DT_STRTAB => self.strings = Some(value),
            DT_SYMTAB => self.symbols = Some(value),
            DT_RELA => self.rela.address = value,
            DT_RELASZ => self.rela.size = value,
            DT_JMPREL => self.plt.address = value,
            DT_PLTRELSZ => self.plt.size = value,
            DT_RELR => self.relr.address = value,
            DT_RELRSZ => self.relr.size = value,
            DT_RELAENT if value != SIZEOF_RELA as u64 => return Err(malformed("DT_RELAENT is not 24")),
            DT_RELRENT if value != 8 => return Err(malformed("DT_RELRENT is not 8")),
            DT_SYMENT if value != SIZEOF_SYM as u64 => return Err(malformed("DT_SYMENT is not 24")),
            DT_PLTREL if value != DT_RELA => return Err(malformed("DT_PLTREL is not DT_RELA")),
            DT_REL => return Err(malformed("it has DT_REL, which x86-64 does not")),
            _ => {}
        }
        Ok(())
    }

    /// Refuses an image that needs shared libraries.
    pub(super) fn check_libraries(&self, source: &Source<'_>, segments: &Segments) -> Result<(), Refusal> {
        match self.needed.first() {
            Some(&name) => Err(Refusal::NeedsLibraries { first: self.name(source, segments, name) }),
            None => Ok(()),
        }
    }

    /// The names of the shared libraries that the program needs.
    pub(super) fn libraries(&self, source: &Source<'_>, segments: &Segments) -> Vec<String> {
        self.needed.iter().take(64).map(|&name| self.name(source, segments, name)).collect()
    }

    /// A name out of the table of strings, fit to be shown.
    pub(super) fn name(&self, source: &Source<'_>, segments: &Segments, index: u64) -> String {
        self.name_bytes(source, segments, index).unwrap_or_else(|| "(whose name cannot be read)".to_owned())
    }

    fn name_bytes(&self, source: &Source<'_>, segments: &Segments, index: u64) -> Option<String> {
        let address = self.strings?.checked_add(index)?;
        let offset = segments.file_offset(address, 1)?;
        let length = source.length().checked_sub(offset)?.min(LONGEST_NAME);
        let bytes = source.read("table of strings", offset, length).ok()?;
        let name = bytes.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        Some(printable(name))
    }
}

pub(super) fn malformed(reason: &'static str) -> Refusal {
    Refusal::MalformedDynamic { reason }
}
