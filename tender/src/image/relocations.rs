//! Relocations: words to be written once the segments are loaded.
//!
//! They are never kept. Opening an image only finds where in the file their tables are; loading it
//! reads the tables piece by piece, and checks and applies one relocation after the other. So what
//! they take in memory does not depend on the image, and no work is done for an image that does not
//! fit.

use super::dynamic::{CONTEXT, Dynamic, Table, malformed};
use super::error::Refusal;
use super::relr;
use super::segments::Segments;
use super::source::Source;
use super::symbols::{Symbols, Value};
use coracle_hypercall::memory::Rights;
use goblin::elf::header::EM_X86_64;
use goblin::elf::reloc::{
    R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_IRELATIVE, R_X86_64_JUMP_SLOT, R_X86_64_NONE, R_X86_64_RELATIVE,
    Reloc, RelocSection, r_to_str,
};
use goblin::elf64::reloc::SIZEOF_RELA;
use serde::Serialize;

/// The most relocations that are taken, packed ones counted one by one; a program of 100 MB has
/// about half a million.
const MOST: u64 = 4 << 20;

/// The most relocations with symbols, each of which may take a system call. A program without
/// shared libraries has hardly any.
const MOST_SYMBOLIC: u64 = 1 << 18;

/// How many entries are read at once: a table in a hole of the file takes no memory.
const BATCH: u64 = 2730;

/// What becomes of a word of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The bias is added to what was loaded there from the file.
    Move,
    /// It is written, with the bias added if it is a place.
    Write(Value),
}

/// How many relocations there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RelocationCounts {
    /// Words that the image's place is added to.
    pub relative: u64,
    /// Of these, how many are packed (`DT_RELR`).
    pub packed: u64,
    /// Words that refer to a symbol.
    pub symbolic: u64,
}

/// Entries next to each other in the file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entries {
    /// Where the first one is. All of them lie within the file.
    pub(super) offset: u64,
    pub(super) count: u64,
}

/// Where an image's tables of relocations are.
pub(super) struct Relocations {
    rela: [Entries; 2],
    relr: Entries,
    dynamic: Dynamic,
}

impl Relocations {
    /// Finds the tables. What is in them is not looked at.
    pub(super) fn find(segments: &Segments, dynamic: Dynamic) -> Result<Relocations, Refusal> {
        let rela = |table: Table| locate(segments, table, "table of relocations", SIZEOF_RELA as u64);
        Ok(Relocations {
            rela: [rela(dynamic.rela)?, rela(dynamic.plt)?],
            relr: locate(segments, dynamic.relr, "table of packed relocations", relr::WORD)?,
            dynamic,
        })
    }

    /// Checks each relocation and hands on what is to be done: a distance from the start of the
    /// image's span, and what becomes of the word there. Words that are moved come first, as they
    /// are in the file.
    pub(super) fn each(
        &self,
        source: &Source<'_>,
        segments: &Segments,
        change: &mut dyn FnMut(u64, Change) -> Result<(), Refusal>,
    ) -> Result<RelocationCounts, Refusal> {
        let mut pass = Pass { segments, change, counts: RelocationCounts::default() };
        relr::decode(source, segments, self.relr, |address| {
            pass.counts.packed += 1;
            pass.relative(address, Change::Move)
        })?;
        let mut symbols = Symbols::new(source, segments, &self.dynamic);
        for table in self.rela {
            pass.table(source, &mut symbols, table)?;
        }
        Ok(pass.counts)
    }
}

/// One time through all relocations.
struct Pass<'p> {
    segments: &'p Segments,
    change: &'p mut dyn FnMut(u64, Change) -> Result<(), Refusal>,
    counts: RelocationCounts,
}

impl Pass<'_> {
    fn table(
        &mut self,
        source: &Source<'_>,
        symbols: &mut Symbols<'_>,
        table: Entries,
    ) -> Result<(), Refusal> {
        let Entries { mut offset, count: mut left } = table;
        while left > 0 {
            let batch = left.min(BATCH);
            let bytes = source.read("table of relocations", offset, batch * SIZEOF_RELA as u64)?;
            let section = RelocSection::parse(&bytes, 0, bytes.len(), true, CONTEXT)
                .map_err(|_| malformed("its table of relocations cannot be read"))?;
            for relocation in section.iter() {
                self.entry(symbols, &relocation)?;
            }
            left -= batch;
            // The whole table lies within the file, so this stays within it too.
            offset += batch * SIZEOF_RELA as u64;
        }
        Ok(())
    }

    fn entry(&mut self, symbols: &mut Symbols<'_>, relocation: &Reloc) -> Result<(), Refusal> {
        let (address, number) = (relocation.r_offset, relocation.r_type);
        let addend = relocation.r_addend.unwrap_or_default().cast_unsigned();
        match number {
            R_X86_64_NONE => Ok(()),
            R_X86_64_RELATIVE => self.relative(address, Change::Write(Value::Place(addend))),
            R_X86_64_64 | R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT => {
                // The psABI gives an addend to the first of these only.
                let addend = if number == R_X86_64_64 { addend } else { 0 };
                self.symbolic(address, relocation.r_sym as u32, addend, symbols)
            }
            _ => Err(Refusal::UnknownRelocation { number, name: name(number), address }),
        }
    }

    fn relative(&mut self, address: u64, change: Change) -> Result<(), Refusal> {
        self.counts.relative += 1;
        self.word(address, change)
    }

    fn symbolic(
        &mut self,
        address: u64,
        symbol: u32,
        addend: u64,
        symbols: &mut Symbols<'_>,
    ) -> Result<(), Refusal> {
        self.counts.symbolic += 1;
        if self.counts.symbolic > MOST_SYMBOLIC {
            return Err(Refusal::TooManyRelocations { kind: " with symbols", most: MOST_SYMBOLIC });
        }
        let value = match symbols.resolve(symbol)? {
            Value::Place(place) => Value::Place(place.wrapping_add(addend)),
            Value::Number(plain) => Value::Number(plain.wrapping_add(addend)),
        };
        self.word(address, Change::Write(value))
    }

    fn word(&mut self, address: u64, change: Change) -> Result<(), Refusal> {
        if self.counts.relative + self.counts.symbolic > MOST {
            return Err(Refusal::TooManyRelocations { kind: "", most: MOST });
        }
        match self.segments.holding(address, 8) {
            Some(segment) if segment.rights.contains(Rights::WRITE) => {}
            _ => return Err(Refusal::RelocationTarget { address }),
        }
        // The span begins at or below every segment.
        (self.change)(address - self.segments.span.start, change)
    }
}

/// Where in the file a table's entries are.
fn locate(
    segments: &Segments,
    table: Table,
    name: &'static str,
    entry_size: u64,
) -> Result<Entries, Refusal> {
    if table.size == 0 {
        return Ok(Entries::default());
    }
    if !table.size.is_multiple_of(entry_size) {
        return Err(malformed("the size of a table is not a multiple of that of its entries"));
    }
    let count = table.size / entry_size;
    if count > MOST {
        return Err(Refusal::TooManyRelocations { kind: "", most: MOST });
    }
    let offset = segments
        .file_offset(table.address, table.size)
        .ok_or(Refusal::TableNotLoaded { table: name, address: table.address })?;
    Ok(Entries { offset, count })
}

/// The name of a type of relocation as the psABI has it.
fn name(number: u32) -> String {
    match (number, r_to_str(number, EM_X86_64)) {
        // goblin's table of names ends before this one, which static programs with glibc have.
        (R_X86_64_IRELATIVE, _) => "R_X86_64_IRELATIVE".to_owned(),
        (_, name) if name.starts_with("X86_64") => format!("R_{name}"),
        _ => "of no known name".to_owned(),
    }
}
