//! The image's file: sections read one by one.
//!
//! The file is never mapped: whoever could truncate it could kill the tender with SIGBUS. What is
//! read is counted, so that neither large nor overlapping sections make the tender's memory grow
//! beyond [`MAX_READ`].

use object::LittleEndian;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{self, Pod};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

type Endian = LittleEndian;

/// The most bytes that are read of a file, however large it is. The lines and names of a program of
/// a hundred megabytes take less.
const MAX_READ: u64 = 256 << 20;

/// The most bytes of names of sections, and of one section of notes.
const MAX_SMALL: u64 = 1 << 20;

/// The longest name of a section that anybody looks for.
const MAX_NAME: usize = 64;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is not an ELF file for x86-64")]
    NotElf,
    #[error("its {0} lies outside of the file or is malformed")]
    Damaged(&'static str),
    #[error("its section {0} is compressed; link with --compress-debug-sections=none")]
    Compressed(String),
    #[error(
        "with its section {section} it has more than {} MiB of tables and debug information; link with less \
         (`debug = \"line-tables-only\"`)",
        MAX_READ >> 20
    )]
    TooMuch { section: String },
}

/// An open ELF file.
#[derive(Debug)]
pub(super) struct ElfFile<'a> {
    file: &'a File,
    length: u64,
    /// How many more bytes may be read.
    allowance: Cell<u64>,
    sections: Vec<Section>,
    segments: Vec<ProgramHeader64<Endian>>,
}

/// A section's header.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) kind: elf::SectionType,
    offset: u64,
    compressed: bool,
}

impl<'a> ElfFile<'a> {
    /// Reads the headers of a file.
    pub(super) fn open(file: &'a File) -> Result<ElfFile<'a>, ElfError> {
        let length = file.metadata()?.len();
        let mut opened = ElfFile {
            file,
            length,
            allowance: Cell::new(MAX_READ),
            sections: Vec::new(),
            segments: Vec::new(),
        };
        let header = opened.read(0, size_of::<FileHeader64<Endian>>() as u64).ok_or(ElfError::NotElf)?;
        let (header, _) = pod::from_bytes::<FileHeader64<Endian>>(&header).map_err(|()| ElfError::NotElf)?;
        let ident = &header.e_ident;
        let machine = header.e_machine.get(Endian {});
        if ident.magic != elf::ELFMAG
            || ident.class != elf::ELFCLASS64
            || ident.data != elf::ELFDATA2LSB
            || machine != elf::EM_X86_64
        {
            return Err(ElfError::NotElf);
        }
        opened.segments = opened
            .table(header.e_phoff.get(Endian {}), header.e_phnum.get(Endian {}))
            .ok_or(ElfError::Damaged("program header table"))?;
        let headers: Vec<SectionHeader64<Endian>> = opened
            .table(header.e_shoff.get(Endian {}), header.e_shnum.get(Endian {}))
            .ok_or(ElfError::Damaged("section header table"))?;
        opened.sections = opened.name_sections(&headers, header.e_shstrndx.get(Endian {}));
        Ok(opened)
    }

    /// Reads a table of headers.
    fn table<T: Pod>(&self, offset: u64, count: u16) -> Option<Vec<T>> {
        let count = usize::from(count);
        let bytes = self.read(offset, (count.checked_mul(size_of::<T>())?) as u64)?;
        let (items, _) = pod::slice_from_bytes::<T>(&bytes, count).ok()?;
        Some(items.to_vec())
    }

    fn name_sections(&self, headers: &[SectionHeader64<Endian>], names: elf::SymbolSection) -> Vec<Section> {
        let names = headers.get(usize::from(names.0)).and_then(|header| {
            let size = header.sh_size.get(Endian {}).min(MAX_SMALL);
            self.read(header.sh_offset.get(Endian {}), size)
        });
        let names = names.unwrap_or_default();
        let name = |offset: u32| {
            // Cut before it is copied: thousands of sections may share one name of a megabyte.
            let rest = names.get(offset as usize..).unwrap_or_default();
            let rest = rest.get(..MAX_NAME).unwrap_or(rest);
            String::from_utf8_lossy(rest.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
        };
        let section = |header: &SectionHeader64<Endian>| Section {
            name: name(header.sh_name.get(Endian {})),
            address: header.sh_addr.get(Endian {}),
            size: header.sh_size.get(Endian {}),
            kind: header.sh_type.get(Endian {}),
            offset: header.sh_offset.get(Endian {}),
            compressed: header.sh_flags.get(Endian {}).contains(elf::SHF_COMPRESSED),
        };
        headers.iter().map(section).collect()
    }

    /// Reads a piece of the file; `None` when there is no such piece, or the allowance is used up.
    fn read(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        if offset.checked_add(size)? > self.length {
            return None;
        }
        self.allowance.set(self.allowance.get().checked_sub(size)?);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// The section of this name, if it has bytes in the file.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.kind != elf::SHT_NOBITS)
    }

    /// Reads the whole of a section.
    pub(super) fn contents(&self, section: &Section) -> Result<Vec<u8>, ElfError> {
        if section.compressed {
            return Err(ElfError::Compressed(section.name.clone()));
        }
        if section.size > self.allowance.get() {
            return Err(ElfError::TooMuch { section: section.name.clone() });
        }
        self.read(section.offset, section.size).ok_or(ElfError::Damaged("sections' contents"))
    }

    /// Reads a section by name; empty when there is none.
    pub(super) fn contents_of(&self, name: &str) -> Result<Vec<u8>, ElfError> {
        self.section(name).map_or(Ok(Vec::new()), |section| self.contents(section))
    }

    /// The GNU build id (a note with owner "GNU" and type 3).
    pub(super) fn build_id(&self) -> Option<Vec<u8>> {
        let notes =
            self.sections.iter().filter(|section| section.kind == elf::SHT_NOTE && section.size <= MAX_SMALL);
        notes.filter_map(|section| find_build_id(&self.contents(section).ok()?)).next()
    }

    /// What of the file is loaded and where: (address, size in memory, flags). Two builds of a
    /// program hardly ever agree in it.
    pub(super) fn outline(&self) -> Vec<(u64, u64, u32)> {
        let loaded = self.segments.iter().filter(|segment| segment.p_type.get(Endian {}) == elf::PT_LOAD);
        let entry = |segment: &ProgramHeader64<Endian>| {
            (segment.p_vaddr.get(Endian {}), segment.p_memsz.get(Endian {}), segment.p_flags.get(Endian {}).0)
        };
        loaded.map(entry).collect()
    }
}

fn find_build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    let word = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize);
    let padded = |size: usize| size.checked_next_multiple_of(4);
    loop {
        let (name_size, size, kind) = (word(notes)?, word(notes.get(4..)?)?, word(notes.get(8..)?)?);
        let name = notes.get(12..)?;
        let descriptor = name.get(padded(name_size)?..)?;
        if kind == elf::NT_GNU_BUILD_ID.0 as usize && name.get(..name_size)? == b"GNU\0" {
            return descriptor.get(..size).map(<[u8]>::to_vec);
        }
        notes = descriptor.get(padded(size)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::{ElfError, ElfFile, find_build_id};
    use std::fs::File;
    use std::io::Write;

    fn own() -> File {
        File::open("/proc/self/exe").expect("the test's own executable")
    }

    #[test]
    fn sections_of_a_real_file_are_found_by_name() {
        let file = own();
        let image = ElfFile::open(&file).expect("opens");
        let section = image.section(".eh_frame").expect("there is one");
        assert_eq!(image.contents(section).expect("reads").len() as u64, section.size);
        assert!(image.section(".bss").is_none());
        assert!(image.outline().len() >= 2);
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let mut file = tempfile::tempfile().expect("a file");
        assert!(matches!(ElfFile::open(&file), Err(ElfError::NotElf)));
        file.write_all(&[b'x'; 4096]).expect("writes");
        assert!(matches!(ElfFile::open(&file), Err(ElfError::NotElf)));
    }

    #[test]
    fn sections_that_overlap_cannot_make_the_tender_read_without_end() {
        let file = own();
        let image = ElfFile::open(&file).expect("opens");
        let section = image.section(".eh_frame").expect("there is one");
        image.allowance.set(section.size);
        assert!(image.contents(section).is_ok());
        assert!(matches!(image.contents(section), Err(ElfError::TooMuch { .. })));
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let mut notes = Vec::new();
        for (kind, owner, descriptor) in [(1_u32, b"Cora", vec![1, 2, 3]), (3, b"GNU\0", vec![9, 8, 7, 6, 5])]
        {
            for word in [4, descriptor.len() as u32, kind] {
                notes.extend(word.to_le_bytes());
            }
            notes.extend(owner);
            notes.extend(&descriptor);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(find_build_id(&notes), Some(vec![9, 8, 7, 6, 5]));
        for cut in 0..notes.len() - 3 {
            assert_eq!(find_build_id(&notes[..cut]), None, "{cut}");
        }
    }
}
