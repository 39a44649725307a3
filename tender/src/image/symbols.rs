//! Symbols that relocations refer to.

use super::dynamic::{CONTEXT, Dynamic, malformed};
use super::error::Refusal;
use super::segments::Segments;
use super::source::{Source, Window};
use goblin::elf::Symtab;
use goblin::elf::section_header::{SHN_ABS, SHN_UNDEF};
use goblin::elf::sym::{STB_WEAK, STT_GNU_IFUNC, STT_TLS};
use goblin::elf64::sym::SIZEOF_SYM;

/// What a symbol stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A place in the image, as linked.
    Place(u64),
    /// A number that is the same wherever the image lies.
    Number(u64),
}

/// The table of symbols.
pub(super) struct Symbols<'s> {
    source: &'s Source<'s>,
    segments: &'s Segments,
    dynamic: &'s Dynamic,
    window: Window<'s>,
}

impl<'s> Symbols<'s> {
    pub(super) fn new(source: &'s Source<'s>, segments: &'s Segments, dynamic: &'s Dynamic) -> Symbols<'s> {
        Symbols { source, segments, dynamic, window: Window::new(source) }
    }

    /// What the symbol with this index stands for. A weak one that nothing defines stands for 0.
    pub(super) fn resolve(&mut self, index: u32) -> Result<Value, Refusal> {
        if index == 0 {
            return Ok(Value::Number(0));
        }
        let table =
            self.dynamic.symbols.ok_or(malformed("it has relocations with symbols and no DT_SYMTAB"))?;
        let size = SIZEOF_SYM as u64;
        let address = table.saturating_add(u64::from(index) * size);
        let missing = Refusal::TableNotLoaded { table: "table of symbols", address };
        let offset = self.segments.file_offset(address, size).ok_or(missing)?;
        let bytes: [u8; SIZEOF_SYM] = self.window.array("table of symbols", offset)?;
        let symbol = Symtab::parse(&bytes, 0, 1, CONTEXT).ok().and_then(|table| table.get(0));
        let symbol = symbol.ok_or(malformed("its table of symbols cannot be read"))?;

        let dynamic = match symbol.st_type() {
            STT_TLS => Some("thread-local symbol"),
            STT_GNU_IFUNC => Some("indirect function"),
            _ => None,
        };
        if let Some(kind) = dynamic {
            return Err(Refusal::DynamicSymbol { kind, name: self.name(symbol.st_name) });
        }
        match (symbol.st_shndx as u32, symbol.st_bind()) {
            (SHN_UNDEF, STB_WEAK) => Ok(Value::Number(0)),
            (SHN_UNDEF, _) => Err(Refusal::UndefinedSymbol { name: self.name(symbol.st_name) }),
            (SHN_ABS, _) => Ok(Value::Number(symbol.st_value)),
            _ => Ok(Value::Place(symbol.st_value)),
        }
    }

    fn name(&self, index: usize) -> String {
        self.dynamic.name(self.source, self.segments, index as u64)
    }
}
