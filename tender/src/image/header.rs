//! The ELF header and the program headers.

use super::error::Refusal;
use super::looks::Looks;
use super::segments::Segments;
use super::source::Source;
use super::{Kind, ProgramHeaders};
use goblin::container::Endian;
use goblin::elf::Elf;
use goblin::elf::header::{
    EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ELFMAG, EM_386, EM_AARCH64, EM_ARM,
    EM_LOONGARCH, EM_MIPS, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_SPARCV9, EM_X86_64, ET_CORE, ET_DYN,
    ET_EXEC, ET_REL, machine_to_str,
};
use goblin::elf::program_header::{PT_INTERP, PT_LOAD};
use goblin::elf64::header::SIZEOF_EHDR;
use goblin::elf64::program_header::{ProgramHeader, SIZEOF_PHDR};

/// The most program headers that are read. Linkers make about a dozen.
const MOST_PROGRAM_HEADERS: u16 = 128;

/// What the two kinds of header say.
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) entry: u64,
    /// Where in the file the program headers are.
    pub(super) offset: u64,
    pub(super) program: Vec<ProgramHeader>,
}

impl Header {
    pub(super) fn read(source: &Source<'_>) -> Result<Header, Refusal> {
        check_identity(source)?;
        let bytes = source.read("ELF header", 0, SIZEOF_EHDR as u64)?;
        let header =
            Elf::parse_header(&bytes).map_err(|_| Refusal::NotElf { looks: Looks::at(source.head()) })?;
        let kind = match header.e_type {
            ET_DYN => Kind::PositionIndependent,
            ET_EXEC => Kind::Fixed,
            ET_REL => return Err(Refusal::NotAProgram { what: "a relocatable object file" }),
            ET_CORE => return Err(Refusal::NotAProgram { what: "a core dump" }),
            _ => return Err(Refusal::NotAProgram { what: "an ELF file of an unknown type" }),
        };
        let (count, size) = (header.e_phnum, header.e_phentsize);
        if count == 0 {
            return Err(Refusal::NoSegments);
        }
        if usize::from(size) != SIZEOF_PHDR {
            return Err(Refusal::ProgramHeaderSize { size });
        }
        if count > MOST_PROGRAM_HEADERS {
            return Err(Refusal::TooManyProgramHeaders { count, most: MOST_PROGRAM_HEADERS });
        }
        let table =
            source.read("table of program headers", header.e_phoff, u64::from(count) * u64::from(size))?;
        let program = ProgramHeader::parse(&table, 0, usize::from(count), Endian::Little).unwrap_or_default();
        let header = Header { kind, entry: header.e_entry, offset: header.e_phoff, program };
        if header.of_type(PT_LOAD).next().is_none() {
            return Err(Refusal::NoSegments);
        }
        Ok(header)
    }

    /// The program headers of one type.
    pub(super) fn of_type(&self, p_type: u32) -> impl Iterator<Item = &ProgramHeader> {
        self.program.iter().filter(move |header| header.p_type == p_type)
    }

    /// Where the program headers lie in memory, if they are loaded.
    pub(super) fn loaded(&self, segments: &Segments) -> Option<ProgramHeaders> {
        let count = u16::try_from(self.program.len()).ok()?;
        let entry_size = SIZEOF_PHDR as u16;
        let address = segments.address_of(self.offset, u64::from(count) * u64::from(entry_size))?;
        Some(ProgramHeaders { address, count, entry_size })
    }

    /// What a file without the note is.
    pub(super) fn without_note(&self) -> Refusal {
        let library = self.kind == Kind::PositionIndependent && self.entry == 0;
        if library && self.of_type(PT_INTERP).next().is_none() {
            Refusal::SharedLibrary
        } else {
            Refusal::OrdinaryProgram
        }
    }
}

/// Checks the part of the header that says how to read the rest.
fn check_identity(source: &Source<'_>) -> Result<(), Refusal> {
    let head = source.head();
    if !head.starts_with(ELFMAG) {
        return Err(Refusal::NotElf { looks: Looks::at(head) });
    }
    let cut = || Refusal::CutShort { part: "ELF header", end: SIZEOF_EHDR as u64, length: source.length() };
    // The machine comes first: it says more than its word size and byte order, and lies in the same
    // place in all four formats.
    let (Some(&class), Some(&data), Some(&[low, high])) =
        (head.get(EI_CLASS), head.get(EI_DATA), head.get(18..20))
    else {
        return Err(cut());
    };
    let machine =
        if data == ELFDATA2MSB { u16::from_be_bytes([low, high]) } else { u16::from_le_bytes([low, high]) };
    match (machine, class, data) {
        (EM_386, _, _) => Err(Refusal::ThirtyTwoBit),
        (EM_X86_64, ELFCLASS64, ELFDATA2LSB) => Ok(()),
        (EM_X86_64, ELFCLASS64, _) => Err(Refusal::BigEndian),
        (EM_X86_64, _, _) => Err(Refusal::ThirtyTwoBit),
        _ => Err(Refusal::ForeignMachine { machine: machine_name(machine) }),
    }
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        EM_AARCH64 => "aarch64",
        EM_ARM => "arm",
        EM_RISCV => "riscv",
        EM_PPC => "powerpc",
        EM_PPC64 => "powerpc64",
        EM_S390 => "s390x",
        EM_MIPS => "mips",
        EM_SPARCV9 => "sparc64",
        EM_LOONGARCH => "loongarch64",
        _ => match machine_to_str(machine) {
            name if name.to_ascii_lowercase().contains("unknown") => {
                return format!("unknown (number {machine})");
            }
            name => name,
        },
    };
    name.to_owned()
}
