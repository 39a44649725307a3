//! Makes small ELF images byte by byte, and takes them apart again.
//!
//! ```text
//! in the file   in memory (+ base)
//! 0x000         0x0000  R    ELF header, program headers
//! 0x400         0x0400       notes
//! 0x500         0x0500       symbols, strings at 0x580
//! 0x600         0x0600       relocations, packed ones at 0x780
//! 0x800         0x1000  RX   code: the entry is its first byte
//! 0x900         0x2000  RW   dynamic section; RELRO up to 0x3000
//! 0xa00         0x2100       data: template of thread-local storage at 0x2180
//! 0xb00 (end)   0x2200       zero up to 0x5000
//! ```

use coracle_tender::image::{Image, ImageError, LoadTarget, Refusal};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_DYNAMIC: u32 = 2;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_NOTE: u32 = 4;
pub(crate) const PT_TLS: u32 = 7;
pub(crate) const PT_GNU_STACK: u32 = 0x6474_e551;
pub(crate) const PT_GNU_RELRO: u32 = 0x6474_e552;

pub(crate) const R: u32 = 4;
pub(crate) const RW: u32 = 6;
pub(crate) const RX: u32 = 5;
pub(crate) const RWX: u32 = 7;

const NOTES: u64 = 0x400;
const SYMBOLS: u64 = 0x500;
const STRINGS: u64 = 0x580;
const RELA: u64 = 0x600;
const RELR: u64 = 0x780;
const CODE: u64 = 0x800;
const DYNAMIC: u64 = 0x900;
const DATA: u64 = 0xa00;
pub(crate) const END: u64 = 0xb00;

/// A program header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) p_type: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
}

/// A relocation: where, type, symbol, addend.
pub(crate) type Rela = (u64, u32, u32, u64);

/// A symbol: name, info, section, value.
pub(crate) type Symbol = (u32, u8, u16, u64);

/// An image in the making.
#[derive(Debug, Clone)]
pub(crate) struct Elf {
    /// Added to every address.
    pub(crate) base: u64,
    pub(crate) class: u8,
    pub(crate) data: u8,
    pub(crate) e_type: u16,
    pub(crate) machine: u16,
    pub(crate) entry: u64,
    pub(crate) header_size: u16,
    pub(crate) header_count: Option<u16>,
    pub(crate) headers: Vec<Header>,
    pub(crate) notes: Vec<u8>,
    /// Entries besides those for the tables below.
    pub(crate) dynamic: Vec<(u64, u64)>,
    pub(crate) rela: Vec<Rela>,
    pub(crate) relr: Vec<u64>,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) strings: &'static [u8],
}

impl Elf {
    /// A position-independent image with a bit of everything.
    pub(crate) fn good() -> Elf {
        let header = |p_type, flags, offset, address, file_size, size, align| Header {
            p_type,
            flags,
            offset,
            address,
            file_size,
            size,
            align,
        };
        let notes = [abi_note(1, 0), note(b"GNU\0", 3, &[0xab; 20])].concat();
        Elf {
            base: 0,
            class: 2,
            data: 1,
            e_type: 3,
            machine: 62,
            entry: 0x1000,
            header_size: 56,
            header_count: None,
            headers: vec![
                header(PT_LOAD, R, 0, 0, CODE, CODE, 0x1000),
                header(PT_LOAD, RX, CODE, 0x1000, 0x100, 0x100, 0x1000),
                header(PT_LOAD, RW, DYNAMIC, 0x2000, 0x200, 0x3000, 0x1000),
                header(PT_DYNAMIC, RW, DYNAMIC, 0x2000, 0x100, 0x100, 8),
                header(PT_NOTE, R, NOTES, NOTES, notes.len() as u64, notes.len() as u64, 4),
                header(PT_TLS, R, DATA + 0x80, 0x2180, 16, 48, 16),
                header(PT_GNU_RELRO, R, DYNAMIC, 0x2000, 0x200, 0x1000, 1),
                header(PT_GNU_STACK, RW, 0, 0, 0, 0, 16),
            ],
            notes,
            dynamic: Vec::new(),
            rela: vec![(0x2100, 8, 0, 0x1010), (0x2108, 6, 1, 0)],
            relr: Vec::new(),
            symbols: vec![(0, 0, 0, 0), (1, 0x20, 0, 0)],
            strings: b"\0weak\0strong\0libone.so.1\0",
        }
    }

    /// The same at fixed addresses.
    pub(crate) fn fixed() -> Elf {
        Elf { base: 0x40_0000, e_type: 2, ..Elf::good() }
    }

    /// The first program header of a type.
    pub(crate) fn header(&mut self, p_type: u32) -> &mut Header {
        self.headers.iter_mut().find(|header| header.p_type == p_type).unwrap()
    }

    /// The segments to be loaded: 0 headers and tables, 1 code, 2 data.
    pub(crate) fn load(&mut self, index: usize) -> &mut Header {
        self.headers.iter_mut().filter(|header| header.p_type == PT_LOAD).nth(index).unwrap()
    }

    /// Adds one more segment to be loaded, without bytes in the file.
    pub(crate) fn add_segment(&mut self, flags: u32, address: u64, size: u64) {
        self.headers.push(Header {
            p_type: PT_LOAD,
            flags,
            offset: 0,
            address,
            file_size: 0,
            size,
            align: 0x1000,
        });
    }

    pub(crate) fn without(mut self, p_type: u32) -> Elf {
        self.headers.retain(|header| header.p_type != p_type);
        self
    }

    pub(crate) fn set_notes(&mut self, notes: Vec<u8>) {
        let size = notes.len() as u64;
        let header = self.header(PT_NOTE);
        (header.file_size, header.size) = (size, size);
        self.notes = notes;
    }

    fn dynamic_entries(&self) -> Vec<(u64, u64)> {
        let base = self.base;
        let mut entries = vec![(5, base + STRINGS), (10, 0x80), (6, base + SYMBOLS), (11, 24)];
        if !self.rela.is_empty() {
            entries.extend([(7, base + RELA), (8, 24 * self.rela.len() as u64), (9, 24)]);
        }
        if !self.relr.is_empty() {
            entries.extend([(36, base + RELR), (35, 8 * self.relr.len() as u64), (37, 8)]);
        }
        entries.extend(&self.dynamic);
        entries.push((0, 0));
        entries
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; END as usize];
        let count = self.header_count.unwrap_or(self.headers.len() as u16);
        let mut words = Words::default();
        words.bytes(b"\x7fELF").bytes(&[self.class, self.data, 1, 0]).u64(0);
        words.u16(self.e_type).u16(self.machine).u32(1).u64(self.base.wrapping_add(self.entry));
        words.u64(64).u64(0).u32(0).u16(64).u16(self.header_size).u16(count).u16(64).u16(0).u16(0);
        for header in &self.headers {
            let address = header.address.wrapping_add(self.base);
            words.u32(header.p_type).u32(header.flags).u64(header.offset).u64(address).u64(address);
            words.u64(header.file_size).u64(header.size).u64(header.align);
        }
        words.put(&mut file, 0, NOTES);

        Words(self.notes.clone()).put(&mut file, NOTES, SYMBOLS);
        let mut words = Words::default();
        for &(name, info, section, value) in &self.symbols {
            words.u32(name).bytes(&[info, 0]).u16(section).u64(value).u64(0);
        }
        words.put(&mut file, SYMBOLS, STRINGS);
        Words(self.strings.to_vec()).put(&mut file, STRINGS, RELA);
        let mut words = Words::default();
        for &(address, number, symbol, addend) in &self.rela {
            words.u64(address.wrapping_add(self.base)).u32(number).u32(symbol).u64(addend);
        }
        words.put(&mut file, RELA, RELR);
        let mut words = Words::default();
        for &word in &self.relr {
            words.u64(word);
        }
        words.put(&mut file, RELR, CODE);
        Words(vec![0xf4; 0x100]).put(&mut file, CODE, DYNAMIC);
        let mut words = Words::default();
        for (tag, value) in self.dynamic_entries() {
            words.u64(tag).u64(value);
        }
        words.put(&mut file, DYNAMIC, DATA);
        // Data that can be told from zero and from its neighbours.
        Words((0..0x100).map(|byte| byte as u8).collect()).put(&mut file, DATA, END);
        file
    }

    /// Opens the file as an image.
    pub(crate) fn open(&self) -> Result<Image, ImageError> {
        open(&self.bytes())
    }

    /// Why the file is not taken, and the sentence that says so.
    pub(crate) fn refusal(&self) -> (Refusal, String) {
        refusal(&self.bytes())
    }
}

/// A note.
pub(crate) fn note(owner: &[u8], note_type: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut words = Words::default();
    words.u32(owner.len() as u32).u32(descriptor.len() as u32).u32(note_type);
    words.bytes(owner).align(4).bytes(descriptor).align(4);
    words.0
}

/// The note that makes a program an image.
pub(crate) fn abi_note(major: u16, minor: u16) -> Vec<u8> {
    note(b"Coracle\0", 1, &[major.to_le_bytes(), minor.to_le_bytes()].concat())
}

/// The note that asks for permissions.
pub(crate) fn permissions_note(bits: u32) -> Vec<u8> {
    note(b"Coracle\0", 2, &bits.to_le_bytes())
}

/// An unnamed file in memory.
pub(crate) fn file(bytes: &[u8]) -> File {
    // SAFETY: the name is a string that ends in NUL.
    let descriptor = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(descriptor >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn open(bytes: &[u8]) -> Result<Image, ImageError> {
    Image::from_file(file(bytes), PathBuf::from("guest"))
}

/// Why bytes are not taken as an image, or not loaded. Whatever the reason, it is told in one sentence of three
/// parts: the file, the reason, the way out.
pub(crate) fn refusal(bytes: &[u8]) -> (Refusal, String) {
    let loaded = open(bytes).and_then(|image| image.load(&mut Bounds(image.span().length), 0));
    let error = loaded.unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.starts_with("`guest` "), "{sentence}");
    assert!(sentence.contains(": ") && !sentence.contains('\n') && !sentence.contains("  "), "{sentence}");
    (error.refusal, sentence)
}

/// The memory of an image.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Memory {
    /// Loads an image into memory of its own.
    pub(crate) fn load(image: &Image, bias: u64) -> Memory {
        let mut memory = Memory(vec![0; image.span().length as usize]);
        image.load(&mut memory, bias).unwrap();
        memory
    }

    pub(crate) fn word(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.0[offset..offset + 8].try_into().unwrap())
    }
}

impl LoadTarget for Memory {
    fn read_file(&mut self, offset: u64, length: u64, file: &File, file_offset: u64) -> io::Result<()> {
        file.read_exact_at(&mut self.0[offset as usize..][..length as usize], file_offset)
    }

    fn read_u64(&self, offset: u64) -> io::Result<u64> {
        Ok(self.word(offset as usize))
    }

    fn write_u64(&mut self, offset: u64, value: u64) -> io::Result<()> {
        self.0[offset as usize..][..8].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}

/// A target of so many bytes that only checks that nothing is read or written beyond them.
pub(crate) struct Bounds(pub(crate) u64);

impl LoadTarget for Bounds {
    fn read_file(&mut self, offset: u64, length: u64, file: &File, file_offset: u64) -> io::Result<()> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= self.0));
        assert!(file_offset.checked_add(length).is_some_and(|end| end <= file.metadata().unwrap().len()));
        Ok(())
    }

    fn read_u64(&self, offset: u64) -> io::Result<u64> {
        assert!(offset.checked_add(8).is_some_and(|end| end <= self.0));
        Ok(0)
    }

    fn write_u64(&mut self, offset: u64, _: u64) -> io::Result<()> {
        self.read_u64(offset).map(drop)
    }
}

/// Little-endian numbers one after the other.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Words {
        self.0.extend(bytes);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Words {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Words {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Words {
        self.bytes(&value.to_le_bytes())
    }

    fn align(&mut self, to: usize) -> &mut Words {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }

    /// Puts all into a file, where there is room up to `end`.
    fn put(self, file: &mut [u8], start: u64, end: u64) {
        assert!(self.0.len() as u64 <= end - start, "the part at {start:#x} is too long");
        file[start as usize..][..self.0.len()].copy_from_slice(&self.0);
    }
}
