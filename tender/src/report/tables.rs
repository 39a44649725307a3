//! `.eh_frame`: the rules that lead from a frame to its caller.
//!
//! The tables are those of the image's file. The guest's own copy is not looked at: it may have been
//! changed, and a file is all that is there when the guest's memory is in ruins.

use super::elf::{ElfError, ElfFile};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EhFrameOffset, Encoding, EndianSlice, Expression, Format,
    FrameDescriptionEntry, LittleEndian, Register, RegisterRule, UnwindContext, UnwindExpression,
    UnwindSection,
};

/// What gimli reads from.
pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The longest program of rules for one function. Compilers stay below a hundredth of it.
const MAX_PROGRAM: usize = 1 << 20;

/// The size of an address in bytes.
const ADDRESS_SIZE: u8 = 8;

/// An image's unwind tables.
#[derive(Debug)]
pub(super) struct Tables {
    frames: Vec<u8>,
    frames_address: u64,
    index: Vec<u8>,
    bases: BaseAddresses,
}

/// How to get from a frame to its caller at one address.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The canonical frame address: the stack pointer before the call.
    pub(super) cfa: CfaRule<usize>,
    /// Registers that are not as in the frame itself.
    pub(super) registers: Vec<(Register, RegisterRule<usize>)>,
    /// The column of the return address.
    pub(super) return_address: Register,
    /// Whether the caller was interrupted and has not made a call.
    pub(super) is_signal: bool,
    encoding: Encoding,
}

impl Tables {
    /// Reads the tables of an image; `None` where it has none.
    pub(super) fn load(image: &ElfFile<'_>) -> Result<Option<Tables>, ElfError> {
        let Some(section) = image.section(".eh_frame") else { return Ok(None) };
        let address = |name| image.section(name).map_or(0, |section| section.address);
        let bases = BaseAddresses::default()
            .set_eh_frame(section.address)
            .set_eh_frame_hdr(address(".eh_frame_hdr"))
            .set_text(address(".text"))
            .set_got(address(".got"));
        Ok(Some(Tables {
            frames: image.contents(section)?,
            frames_address: section.address,
            index: image.contents_of(".eh_frame_hdr")?,
            bases,
        }))
    }

    fn section(&self) -> EhFrame<Bytes<'_>> {
        let mut section = EhFrame::new(&self.frames, LittleEndian);
        section.set_address_size(ADDRESS_SIZE);
        section
    }

    /// The rules at an address of the file, `None` where the tables know nothing of it.
    pub(super) fn rules(&self, address: u64) -> Result<Option<Rules>, gimli::Error> {
        let section = self.section();
        let entry = match self.entry(&section, address) {
            Ok(entry) => entry,
            Err(gimli::Error::NoUnwindInfoForAddress) => return Ok(None),
            Err(error) => return Err(error),
        };
        let cie = entry.cie();
        if entry.entry_len() > MAX_PROGRAM || cie.entry_len() > MAX_PROGRAM {
            return Err(gimli::Error::UnsupportedOffset);
        }
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&section, &self.bases, &mut context, address)?;
        Ok(Some(Rules {
            cfa: row.cfa().clone(),
            registers: row.registers().cloned().collect(),
            return_address: cie.return_address_register(),
            is_signal: cie.is_signal_trampoline(),
            encoding: Encoding { address_size: ADDRESS_SIZE, format: Format::Dwarf32, version: 5 },
        }))
    }

    /// Finds a function's entry: through the index where there is one, else one after the other.
    fn entry<'a>(
        &'a self,
        section: &EhFrame<Bytes<'a>>,
        address: u64,
    ) -> Result<FrameDescriptionEntry<Bytes<'a>>, gimli::Error> {
        let index = EhFrameHdr::new(&self.index, LittleEndian).parse(&self.bases, ADDRESS_SIZE).ok();
        let Some(table) = index.as_ref().and_then(|index| index.table()) else {
            return section.fde_for_address(&self.bases, address, EhFrame::cie_from_offset);
        };
        let pointer = table.lookup(address, &self.bases)?.direct()?;
        // Not gimli's own conversion, which subtracts without a check.
        let offset = pointer.checked_sub(self.frames_address).ok_or(gimli::Error::UnsupportedOffset)?;
        let offset = usize::try_from(offset).map_err(|_| gimli::Error::UnsupportedOffset)?;
        let entry = section.fde_from_offset(&self.bases, EhFrameOffset(offset), EhFrame::cie_from_offset)?;
        if entry.contains(address) { Ok(entry) } else { Err(gimli::Error::NoUnwindInfoForAddress) }
    }

    /// The program behind a rule.
    pub(super) fn expression(
        &self,
        rules: &Rules,
        expression: &UnwindExpression<usize>,
    ) -> Option<(Expression<Bytes<'_>>, Encoding)> {
        Some((expression.get(&self.section()).ok()?, rules.encoding))
    }
}

#[cfg(test)]
mod tests {
    use super::Tables;
    use crate::report::elf::ElfFile;
    use crate::report::tests::cases;
    use proptest::prelude::*;
    use std::fs::File;

    fn own() -> Tables {
        let file = File::open("/proc/self/exe").expect("the test's own executable");
        Tables::load(&ElfFile::open(&file).expect("opens")).expect("reads").expect("has tables")
    }

    #[test]
    fn an_address_beyond_all_functions_has_no_rules() {
        assert!(own().rules(u64::MAX).expect("looks it up").is_none());
        assert!(own().rules(0).expect("looks it up").is_none());
    }

    #[test]
    fn the_same_rules_are_found_with_and_without_the_index() {
        let mut tables = own();
        let file = File::open("/proc/self/exe").expect("opens");
        let image = ElfFile::open(&file).expect("opens");
        let text = image.section(".text").expect("there is code").clone();
        let address = text.address + text.size / 2;
        let with = tables.rules(address).expect("looks it up");
        tables.index.clear();
        let without = tables.rules(address).expect("looks it up");
        assert_eq!(with.map(|rules| format!("{rules:?}")), without.map(|rules| format!("{rules:?}")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]
        #[test]
        fn damaged_tables_give_errors_and_nothing_worse(
            noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
            address in 0_u64..0x100_0000,
        ) {
            let mut tables = own();
            for (index, byte) in noise {
                // The start of the tables, which every look-up passes.
                let length = tables.index.len();
                tables.index[index.index(length.min(64))] = byte;
                let length = tables.frames.len();
                tables.frames[index.index(length.min(4096))] = byte;
            }
            // gimli adds addresses without checks; see `unwind::walk`, which catches what that does.
            let _ = std::panic::catch_unwind(|| tables.rules(address).is_ok());
        }
    }
}
