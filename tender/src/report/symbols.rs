//! Function names from an ELF symbol table.

use super::budget::{Budget, Exhausted};
use super::elf::{ElfError, ElfFile};
use object::LittleEndian;
use object::elf::{self, Sym64};
use object::pod;

/// How much of a name is looked at.
const MAX_NAME: usize = 16 << 10;

/// A symbol that an address lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Its name as it stands in the file.
    pub(super) name: Vec<u8>,
    /// How far into it the address is.
    pub(super) offset: u64,
}

/// A symbol table with its names.
#[derive(Debug)]
pub(super) struct Symbols {
    symbols: Vec<u8>,
    names: Vec<u8>,
}

impl Symbols {
    /// Reads a file's symbols, the dynamic ones where there are no others; `None` without any.
    pub(super) fn load(file: &ElfFile<'_>) -> Result<Option<Symbols>, ElfError> {
        for (symbols, names) in [(".symtab", ".strtab"), (".dynsym", ".dynstr")] {
            if let (Some(symbols), Some(names)) = (file.section(symbols), file.section(names)) {
                return Ok(Some(Symbols { symbols: file.contents(symbols)?, names: file.contents(names)? }));
            }
        }
        Ok(None)
    }

    /// Finds the symbol of each address.
    pub(super) fn find(
        &self,
        addresses: &[u64],
        budget: &mut Budget,
    ) -> Result<Vec<Option<Symbol>>, Exhausted> {
        let count = self.symbols.len() / size_of::<Sym64<LittleEndian>>();
        let symbols = pod::slice_from_bytes::<Sym64<LittleEndian>>(&self.symbols, count);
        let symbols = symbols.map_or(&[][..], |(symbols, _)| symbols);
        let mut best = vec![None; addresses.len()];
        for symbol in symbols {
            budget.spend(1 + addresses.len() as u64 / 8)?;
            let Some(candidate) = Candidate::new(symbol) else { continue };
            for (&address, best) in addresses.iter().zip(&mut best) {
                if candidate.covers(address) && best.is_none_or(|best| candidate.is_better_than(best)) {
                    *best = Some(candidate);
                }
            }
        }
        let named = addresses.iter().zip(best).map(|(&address, best)| {
            let candidate = best?;
            Some(Symbol { name: self.name(candidate.name)?, offset: address.wrapping_sub(candidate.start) })
        });
        Ok(named.collect())
    }

    fn name(&self, offset: u32) -> Option<Vec<u8>> {
        let rest = self.names.get(usize::try_from(offset).ok()?..)?;
        let rest = rest.get(..MAX_NAME).unwrap_or(rest);
        let name = rest.split(|&byte| byte == 0).next()?;
        (!name.is_empty()).then(|| name.to_vec())
    }
}

/// A symbol that may be the one looked for.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    start: u64,
    size: u64,
    name: u32,
}

impl Candidate {
    fn new(symbol: &Sym64<LittleEndian>) -> Option<Candidate> {
        let kind = symbol.st_info.st_type();
        let is_defined = symbol.st_shndx.get(LittleEndian) != elf::SHN_UNDEF;
        // Hand-written assembly leaves its symbols without a type or a size.
        let is_code = matches!(kind, elf::STT_FUNC | elf::STT_GNU_IFUNC | elf::STT_NOTYPE);
        (is_defined && is_code).then(|| Candidate {
            start: symbol.st_value.get(LittleEndian),
            size: symbol.st_size.get(LittleEndian),
            name: symbol.st_name.get(LittleEndian),
        })
    }

    fn covers(self, address: u64) -> bool {
        /// How far a symbol without a size is thought to reach.
        const REACH: u64 = 4096;
        let reach = if self.size == 0 { REACH } else { self.size };
        self.start != 0 && address.checked_sub(self.start).is_some_and(|offset| offset < reach)
    }

    /// A symbol with a size knows that it covers an address; of those without, the nearest.
    fn is_better_than(self, other: Candidate) -> bool {
        (self.size > 0, self.start) > (other.size > 0, other.start)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Symbol, Symbols};
    use std::time::Duration;

    /// A table of functions: (address, size, name, type, defined).
    fn table(entries: &[(u64, u64, &str, u8, bool)]) -> Symbols {
        let (mut symbols, mut names) = (Vec::new(), vec![0]);
        for (address, size, name, kind, defined) in entries {
            symbols.extend((names.len() as u32).to_le_bytes());
            symbols.extend([*kind, 0]);
            symbols.extend(u16::from(*defined).to_le_bytes());
            symbols.extend(address.to_le_bytes());
            symbols.extend(size.to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        Symbols { symbols, names }
    }

    fn find(symbols: &Symbols, address: u64) -> Option<(String, u64)> {
        let mut budget = Budget::new(Duration::from_secs(60));
        let found = symbols.find(&[address], &mut budget).expect("there is time").remove(0);
        found.map(|Symbol { name, offset }| (String::from_utf8(name).expect("a name"), offset))
    }

    #[test]
    fn an_address_belongs_to_the_function_that_covers_it() {
        let symbols = table(&[(0x1000, 0x20, "a", 2, true), (0x1020, 0x20, "b", 2, true)]);
        assert_eq!(find(&symbols, 0x101f), Some(("a".to_owned(), 0x1f)));
        assert_eq!(find(&symbols, 0x1020), Some(("b".to_owned(), 0)));
        assert_eq!(find(&symbols, 0x1040), None);
        assert_eq!(find(&symbols, 0xfff), None);
    }

    #[test]
    fn a_symbol_without_a_size_serves_where_nothing_better_does() {
        let symbols = table(&[(0x1000, 0, "asm", 0, true), (0x1010, 8, "sized", 2, true)]);
        assert_eq!(find(&symbols, 0x1012), Some(("sized".to_owned(), 2)));
        assert_eq!(find(&symbols, 0x1020), Some(("asm".to_owned(), 0x20)));
        assert_eq!(find(&symbols, 0x9000), None);
    }

    #[test]
    fn data_and_undefined_symbols_name_no_function() {
        let symbols = table(&[(0x1000, 0x20, "data", 1, true), (0x1000, 0x20, "foreign", 2, false)]);
        assert_eq!(find(&symbols, 0x1000), None);
    }

    #[test]
    fn a_name_outside_of_the_table_is_no_name() {
        let mut symbols = table(&[(0x1000, 0x20, "a", 2, true)]);
        symbols.names.truncate(1);
        assert_eq!(find(&symbols, 0x1000), None);
    }
}
