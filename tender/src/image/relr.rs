//! Packed relative relocations (`DT_RELR`; System V gABI, "Relative Relocation Table").
//!
//! The table is a list of words. An even word is the address of a word to relocate. An odd word is
//! a set: its bits 1 to 63 say which of the next 63 words after the last address are relocated too.
//! What is relocated is the word that the file has there.

use super::dynamic::malformed;
use super::error::Refusal;
use super::relocations::Entries;
use super::segments::Segments;
use super::source::{Source, Window};

pub(super) const WORD: u64 = 8;

/// Calls `each` with the address of every word to which the bias is to be added.
pub(super) fn decode(
    source: &Source<'_>,
    segments: &Segments,
    table: Entries,
    mut each: impl FnMut(u64) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut entries = Window::new(source);
    let mut lowest = 0u64;
    let mut relocate = |address: u64| {
        // Linkers sort them; out of order they could name the same words again and again.
        if address < lowest {
            return Err(malformed("its packed relocations do not ascend"));
        }
        lowest = address.saturating_add(WORD);
        // Without bytes in the file the word is a null pointer, which no linker relocates.
        segments.file_offset(address, WORD).ok_or(Refusal::RelocationTarget { address })?;
        each(address)
    };
    // What the first bit of a set stands for.
    let mut next = 0u64;
    for index in 0..table.count {
        let offset = table.offset + index * WORD;
        let entry = u64::from_le_bytes(entries.array("table of packed relocations", offset)?);
        if entry & 1 == 0 {
            relocate(entry)?;
            next = beyond(entry, 1)?;
        } else {
            for bit in 1..64 {
                if entry >> bit & 1 == 1 {
                    relocate(beyond(next, bit - 1)?)?;
                }
            }
            next = beyond(next, 63)?;
        }
    }
    Ok(())
}

fn beyond(address: u64, words: u64) -> Result<u64, Refusal> {
    address
        .checked_add(words * WORD)
        .ok_or_else(|| malformed("its packed relocations reach beyond the end of the address space"))
}
