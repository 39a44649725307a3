//! Relocations, decoded and checked once so that loading an image only adds and writes.

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

/// The most relocations that are taken; a program of 100 MB has about half a million.
pub(super) const MOST: u64 = 4 << 20;

/// How many entries are read at once: a table in a hole of the file takes no memory.
const BATCH: u64 = 2730;

/// A word of memory to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fixup {
    /// Its distance from the start of the image's span.
    pub(super) offset: u64,
    /// What to write there, before the bias is added to it if it is a place.
    pub(super) value: u64,
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

/// All words to be written after the segments are loaded.
#[derive(Debug, Default)]
pub(super) struct Fixups {
    /// Words to which the bias is added.
    pub(super) places: Vec<Fixup>,
    /// Words that are the same wherever the image lies.
    pub(super) numbers: Vec<Fixup>,
    pub(super) counts: RelocationCounts,
}

impl Fixups {
    pub(super) fn read(
        source: &Source<'_>,
        segments: &Segments,
        dynamic: &Dynamic,
    ) -> Result<Fixups, Refusal> {
        let mut fixups = Fixups::default();
        let mut symbols = Symbols::new(source, segments, dynamic);
        for table in [dynamic.rela, dynamic.plt] {
            fixups.add_table(source, segments, &mut symbols, table)?;
        }
        relr::decode(source, segments, dynamic.relr, |address, value| {
            fixups.counts.relative += 1;
            fixups.counts.packed += 1;
            fixups.add(segments, address, Value::Place(value))
        })?;
        Ok(fixups)
    }

    fn add_table(
        &mut self,
        source: &Source<'_>,
        segments: &Segments,
        symbols: &mut Symbols<'_>,
        table: Table,
    ) -> Result<(), Refusal> {
        let mut offset = locate(segments, table, "table of relocations", SIZEOF_RELA as u64)?;
        let mut left = table.size / SIZEOF_RELA as u64;
        while left > 0 {
            let batch = left.min(BATCH);
            let bytes = source.read("table of relocations", offset, batch * SIZEOF_RELA as u64)?;
            let section = RelocSection::parse(&bytes, 0, bytes.len(), true, CONTEXT)
                .map_err(|_| malformed("its table of relocations cannot be read"))?;
            for relocation in section.iter() {
                self.add_relocation(segments, symbols, &relocation)?;
            }
            left -= batch;
            // The whole table lies within the file, so this stays within it too.
            offset += batch * SIZEOF_RELA as u64;
        }
        Ok(())
    }

    fn add_relocation(
        &mut self,
        segments: &Segments,
        symbols: &mut Symbols<'_>,
        relocation: &Reloc,
    ) -> Result<(), Refusal> {
        let (address, number) = (relocation.r_offset, relocation.r_type);
        let addend = relocation.r_addend.unwrap_or_default().cast_unsigned();
        let value = match number {
            R_X86_64_NONE => return Ok(()),
            R_X86_64_RELATIVE => {
                self.counts.relative += 1;
                Value::Place(addend)
            }
            R_X86_64_64 | R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT => {
                self.counts.symbolic += 1;
                // The psABI gives an addend to the first of these only.
                let addend = if number == R_X86_64_64 { addend } else { 0 };
                match symbols.resolve(relocation.r_sym as u32)? {
                    Value::Place(place) => Value::Place(place.wrapping_add(addend)),
                    Value::Number(plain) => Value::Number(plain.wrapping_add(addend)),
                }
            }
            _ => return Err(Refusal::UnknownRelocation { number, name: name(number), address }),
        };
        self.add(segments, address, value)
    }

    fn add(&mut self, segments: &Segments, address: u64, value: Value) -> Result<(), Refusal> {
        match segments.holding(address, 8) {
            Some(segment) if segment.rights.contains(Rights::WRITE) => {}
            _ => return Err(Refusal::RelocationTarget { address }),
        }
        // The span begins at or below every segment.
        let offset = address - segments.span.start;
        match value {
            Value::Place(value) => self.places.push(Fixup { offset, value }),
            Value::Number(value) => self.numbers.push(Fixup { offset, value }),
        }
        Ok(())
    }
}

/// Where in the file a table begins: 0 for an empty one.
pub(super) fn locate(
    segments: &Segments,
    table: Table,
    name: &'static str,
    entry_size: u64,
) -> Result<u64, Refusal> {
    if table.size == 0 {
        return Ok(0);
    }
    if !table.size.is_multiple_of(entry_size) {
        return Err(malformed("the size of a table is not a multiple of that of its entries"));
    }
    if table.size / entry_size > MOST {
        return Err(Refusal::TooManyRelocations { most: MOST });
    }
    segments
        .file_offset(table.address, table.size)
        .ok_or(Refusal::TableNotLoaded { table: name, address: table.address })
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
