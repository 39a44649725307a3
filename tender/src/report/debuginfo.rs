//! Functions, also inlined ones, for addresses (DWARF 5, section 3.3).
//!
//! Libraries that do this build tables of all units first. A file that was made for it can make
//! those as large as it likes, so nothing is built here: one pass over the units, in bounded memory,
//! that ends when the [budget](super::budget) does.

use super::Location;
use super::budget::{Budget, Exhausted};
use super::elf::{ElfError, ElfFile};
use super::lines;
use super::tables::Bytes;
use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice,
    LittleEndian, Section, SectionId, Unit, UnitHeader, UnitOffset,
};

/// The largest section of abbreviations. In memory it takes twenty times as much.
const MAX_ABBREVIATIONS: u64 = 4 << 20;

/// The most units.
const MAX_UNITS: usize = 1 << 17;

/// How many functions may be inlined into each other, and how many steps lead to a function's name.
const MAX_INLINED: usize = 256;
const MAX_HOPS: usize = 16;

/// How much of a name is looked at.
const MAX_NAME: usize = 16 << 10;

/// A function that an address lies in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The name as it stands in the file.
    pub(super) name: Option<Vec<u8>>,
    /// Whether it is the name for the linker, which says more than the one in the source.
    pub(super) is_linkage_name: bool,
    /// Where in it the address lies, or the call that is inlined there.
    pub(super) location: Option<Location>,
}

/// A file's debug information.
pub(super) struct DebugInfo {
    sections: DwarfSections<Vec<u8>>,
}

impl DebugInfo {
    /// Reads a file's debug information; `None` where it has none.
    pub(super) fn load(file: &ElfFile<'_>) -> Result<Option<DebugInfo>, ElfError> {
        if file.section(".debug_info").is_none() {
            return Ok(None);
        }
        if file.section(".debug_abbrev").is_some_and(|section| section.size > MAX_ABBREVIATIONS) {
            return Err(ElfError::Damaged(".debug_abbrev"));
        }
        DebugInfo::from_sections(|id| file.contents_of(id.name())).map(Some)
    }

    fn from_sections<E>(mut contents: impl FnMut(SectionId) -> Result<Vec<u8>, E>) -> Result<DebugInfo, E> {
        let load = |id| match id {
            SectionId::DebugAbbrev
            | SectionId::DebugAddr
            | SectionId::DebugInfo
            | SectionId::DebugLine
            | SectionId::DebugLineStr
            | SectionId::DebugRanges
            | SectionId::DebugRngLists
            | SectionId::DebugStr
            | SectionId::DebugStrOffsets => contents(id),
            _ => Ok(Vec::new()),
        };
        Ok(DebugInfo { sections: DwarfSections::load(load)? })
    }

    /// Finds the functions of each address, innermost first; none where nothing is known. What has
    /// been found when the budget ends is in `found` too.
    pub(super) fn find(
        &self,
        addresses: &[u64],
        found: &mut [Vec<Found>],
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        let dwarf = self.sections.borrow(|section| EndianSlice::new(section, LittleEndian));
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            budget.spend(1)?;
            headers.push(header);
            if headers.len() >= MAX_UNITS {
                break;
            }
        }
        for header in &headers {
            budget.spend_much()?;
            let Some(unit) = open(&dwarf, header) else { continue };
            let open = |index: usize| found.get(index).is_some_and(Vec::is_empty);
            let wanted: Vec<(usize, u64)> =
                addresses.iter().copied().enumerate().filter(|(index, _)| open(*index)).collect();
            if wanted.is_empty() {
                break;
            }
            let wanted = covered(&dwarf, &unit, &wanted, budget)?;
            if wanted.is_empty() {
                continue;
            }
            let view = View { dwarf: &dwarf, unit: &unit, headers: &headers };
            for ((index, _), functions) in wanted.iter().zip(view.functions(&wanted, budget)?) {
                if let Some(found) = found.get_mut(*index) {
                    *found = functions;
                }
            }
        }
        Ok(())
    }
}

/// Opens a unit; `None` when it is malformed or would take too much memory.
fn open<'a>(dwarf: &Dwarf<Bytes<'a>>, header: &UnitHeader<Bytes<'a>>) -> Option<Unit<Bytes<'a>>> {
    let abbreviations = dwarf.abbreviations(header).ok()?;
    let root = header.entry(&abbreviations, header.root_offset()).ok()?;
    if let Some(AttributeValue::DebugLineRef(offset)) = root.attr_value(gimli::DW_AT_stmt_list)
        && !lines::is_loadable(dwarf.debug_line.reader(), offset.0)
    {
        return None;
    }
    Unit::new_with_abbreviations(dwarf, *header, abbreviations).ok()
}

/// Those of the addresses that lie within a unit.
fn covered<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    unit: &Unit<Bytes<'a>>,
    wanted: &[(usize, u64)],
    budget: &mut Budget,
) -> Result<Vec<(usize, u64)>, Exhausted> {
    let Ok(root) = unit.entry(unit.header.root_offset()) else { return Ok(Vec::new()) };
    let mut hits = vec![false; wanted.len()];
    mark(dwarf, unit, &root, wanted, &mut hits, budget)?;
    Ok(wanted.iter().zip(hits).filter(|(_, hit)| *hit).map(|(wanted, _)| *wanted).collect())
}

/// Sets the flag of each address that an entry covers.
fn mark<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    unit: &Unit<Bytes<'a>>,
    entry: &DebuggingInformationEntry<Bytes<'a>>,
    wanted: &[(usize, u64)],
    hits: &mut [bool],
    budget: &mut Budget,
) -> Result<(), Exhausted> {
    let Ok(mut ranges) = dwarf.die_ranges(unit, entry) else { return Ok(()) };
    while let Ok(Some(range)) = ranges.next() {
        budget.spend(1)?;
        // What the linker has left out is said to lie at zero.
        for ((_, address), hit) in wanted.iter().zip(hits.iter_mut()).filter(|_| range.begin != 0) {
            *hit |= range.begin <= *address && *address < range.end;
        }
    }
    Ok(())
}

/// A unit among all others.
struct View<'v, 'a> {
    dwarf: &'v Dwarf<Bytes<'a>>,
    unit: &'v Unit<Bytes<'a>>,
    headers: &'v [UnitHeader<Bytes<'a>>],
}

/// An entry for a function or for a call that was inlined, which an address lies in.
#[derive(Debug, Clone, Copy)]
struct Covering {
    offset: UnitOffset<usize>,
    depth: isize,
    /// File, line and column of the call that was inlined.
    call: (u64, u64, u64),
}

impl View<'_, '_> {
    /// The functions of each address, innermost first.
    fn functions(&self, wanted: &[(usize, u64)], budget: &mut Budget) -> Result<Vec<Vec<Found>>, Exhausted> {
        let addresses: Vec<u64> = wanted.iter().map(|(_, address)| *address).collect();
        let locations = lines::find(self.dwarf, self.unit, &addresses, budget)?;
        let chains = self.chains(wanted, budget)?;
        chains.iter().zip(locations).map(|(chain, location)| self.name(chain, location, budget)).collect()
    }

    /// The entries that cover each address, outermost first.
    fn chains(&self, wanted: &[(usize, u64)], budget: &mut Budget) -> Result<Vec<Vec<Covering>>, Exhausted> {
        let mut chains: Vec<Vec<Covering>> = vec![Vec::new(); wanted.len()];
        let Ok(mut entries) = self.unit.entries_raw(None) else { return Ok(chains) };
        let mut entry = DebuggingInformationEntry::null();
        while !entries.is_empty() {
            let Ok(is_entry) = entries.read_entry(&mut entry) else { break };
            budget.spend(1 + entry.attrs().len() as u64 / 4)?;
            let is_function = entry.tag() == gimli::DW_TAG_subprogram;
            if !is_entry || !(is_function || entry.tag() == gimli::DW_TAG_inlined_subroutine) {
                continue;
            }
            let mut hits = vec![false; wanted.len()];
            mark(self.dwarf, self.unit, &entry, wanted, &mut hits, budget)?;
            let number = |name| entry.attr_value(name).and_then(|value| value.udata_value()).unwrap_or(0);
            let covering = |file| Covering {
                offset: entry.offset(),
                depth: entry.depth(),
                call: (file, number(gimli::DW_AT_call_line), number(gimli::DW_AT_call_column)),
            };
            for chain in chains.iter_mut().zip(hits).filter(|(_, hit)| *hit).map(|(chain, _)| chain) {
                // Inlined calls stand within the function's entry, each within the one it is in.
                let fits = match chain.last() {
                    None => is_function,
                    Some(last) => !is_function && entry.depth() > last.depth && chain.len() < MAX_INLINED,
                };
                if fits {
                    chain.push(covering(call_file(&entry)));
                }
            }
        }
        Ok(chains)
    }

    /// Names a chain and turns it round. Where the address lies is known for its innermost function
    /// by the line table, for each other by the call that is inlined.
    fn name(
        &self,
        chain: &[Covering],
        location: Option<Location>,
        budget: &mut Budget,
    ) -> Result<Vec<Found>, Exhausted> {
        let mut location = location;
        let mut found = Vec::new();
        let header = self.unit.line_program.as_ref().map(|program| program.header());
        for (index, covering) in chain.iter().enumerate().rev() {
            let (name, is_linkage_name) = self.function_name(covering.offset, budget)?;
            found.push(Found { name, is_linkage_name, location: location.take() });
            let (file, line, column) = covering.call;
            if let Some(header) = header.filter(|_| index > 0) {
                let path = lines::path(self.dwarf, self.unit, header, file, budget)?;
                location = path.map(|file| Location { file, line, column });
            }
        }
        if chain.is_empty() && location.is_some() {
            found.push(Found { location, ..Found::default() });
        }
        Ok(found)
    }

    /// The name of the function that an entry stands for: its own, or that of what it points to.
    fn function_name(
        &self,
        offset: UnitOffset<usize>,
        budget: &mut Budget,
    ) -> Result<(Option<Vec<u8>>, bool), Exhausted> {
        let mut other;
        let (mut unit, mut offset) = (self.unit, offset);
        let mut short = None;
        for _ in 0..MAX_HOPS {
            budget.spend_much()?;
            let Ok(entry) = unit.entry(offset) else { break };
            let text = |name| {
                let value = entry.attr_value(name)?;
                let text = self.dwarf.attr_string(unit, value).ok()?.slice();
                Some(text.get(..MAX_NAME).unwrap_or(text).to_vec())
            };
            if let Some(name) =
                text(gimli::DW_AT_linkage_name).or_else(|| text(gimli::DW_AT_MIPS_linkage_name))
            {
                return Ok((Some(name), true));
            }
            short = short.or_else(|| text(gimli::DW_AT_name));
            let origin = entry
                .attr_value(gimli::DW_AT_abstract_origin)
                .or_else(|| entry.attr_value(gimli::DW_AT_specification));
            match origin {
                Some(AttributeValue::UnitRef(next)) => offset = next,
                Some(AttributeValue::DebugInfoRef(next)) => {
                    let Some((opened, within)) = self.elsewhere(next) else { break };
                    other = opened;
                    (unit, offset) = (&other, within);
                }
                _ => break,
            }
        }
        Ok((short, false))
    }
}

impl<'a> View<'_, 'a> {
    /// Opens the unit of an entry that is given by its offset among all.
    fn elsewhere(&self, entry: DebugInfoOffset<usize>) -> Option<(Unit<Bytes<'a>>, UnitOffset<usize>)> {
        let starts_before =
            |header: &UnitHeader<Bytes<'a>>| header.debug_info_offset().is_some_and(|start| start <= entry);
        let after = self.headers.partition_point(starts_before);
        let header = self.headers.get(after.checked_sub(1)?)?;
        Some((open(self.dwarf, header)?, entry.to_unit_offset(header)?))
    }
}

fn call_file(entry: &DebuggingInformationEntry<Bytes<'_>>) -> u64 {
    match entry.attr_value(gimli::DW_AT_call_file) {
        Some(AttributeValue::FileIndex(file)) => file,
        Some(value) => value.udata_value().unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, DebugInfo};
    use crate::report::elf::ElfFile;
    use crate::report::tests::cases;
    use proptest::prelude::*;
    use std::fs::File;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::{Duration, Instant};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]
        #[test]
        fn damaged_debug_information_ends_in_time(
            noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        ) {
            let file = File::open("/proc/self/exe").expect("opens");
            let elf = ElfFile::open(&file).expect("parses");
            let info = DebugInfo::from_sections(|id| {
                let mut bytes = elf.contents_of(id.name())?;
                // The start of a section decides how much of the rest is read.
                let length = bytes.len().min(1 << 16);
                for (index, byte) in noise.iter().filter(|_| length > 0) {
                    bytes[index.index(length)] = *byte;
                }
                Ok::<_, crate::report::elf::ElfError>(bytes)
            });
            let info = info.expect("reads");
            let text = elf.section(".text").expect("there is code");
            let addresses: Vec<u64> = (0..32).map(|n| text.address + text.size / 32 * n).collect();
            let mut found = vec![Vec::new(); addresses.len()];
            let start = Instant::now();
            let mut budget = Budget::new(Duration::from_millis(50));
            // See `names::name`, which catches what gimli's unchecked sums do.
            let _ = catch_unwind(AssertUnwindSafe(|| info.find(&addresses, &mut found, &mut budget)));
            prop_assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        }
    }
}
