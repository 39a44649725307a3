//! An image: an ELF program, checked and understood once, loaded as often as one likes.
//!
//! Everything in the file is untrusted. [`Image::open`] reads the headers, notes and tables, refuses
//! what cannot become a guest with a sentence for a person ([`Refusal`]), and keeps what loading
//! needs. Relocations are not read before [`Image::load`], when it is known that the image fits.
//! Sections and debug information are never looked at, so the length of the file does not matter:
//! opening a small image takes about five system calls.
//!
//! | file | its one idea |
//! |---|---|
//! | `source` | reads parts of the file within its length |
//! | `header` | the ELF header and program headers |
//! | `notes` | contract version, permissions, kind of program, build id |
//! | `segments`, `pages` | what is loaded where, and the rights of each page |
//! | `tls` | thread-local storage |
//! | `dynamic`, `relocations`, `relr`, `symbols` | words to be written after loading |
//! | `load` | puts the image into memory |
//! | `inspect` | shows what a file holds, whether it is taken or not |

mod dynamic;
mod error;
mod header;
pub mod inspect;
mod load;
mod looks;
mod notes;
mod pages;
mod relocations;
mod relr;
mod segments;
mod source;
mod symbols;
mod tls;

pub use error::{ImageError, Refusal};
pub use load::LoadTarget;
pub use looks::Looks;
pub use pages::PageRun;
pub use relocations::RelocationCounts;
pub use tls::Tls;

use crate::layout::Extent;
use coracle_hypercall::note::{Permissions, Program};
use coracle_hypercall::version::AbiVersion;
use dynamic::Dynamic;
use header::Header;
use notes::Notes;
use relocations::Relocations;
use segments::Segments;
use serde::Serialize;
use source::Source;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Whether an image may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `ET_DYN`: it runs at any place.
    PositionIndependent,
    /// `ET_EXEC`: it runs where it was linked to.
    Fixed,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::PositionIndependent => "position-independent",
            Kind::Fixed => "linked to fixed addresses",
        })
    }
}

/// Where the program headers lie in memory, for the guest's auxiliary vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramHeaders {
    /// The address of the first one, as linked.
    pub address: u64,
    /// How many there are.
    pub count: u16,
    /// The size of each in bytes.
    pub entry_size: u16,
}

/// A program that can become a guest. All addresses are as linked: to each, an instance adds the
/// same bias.
pub struct Image {
    file: File,
    path: PathBuf,
    kind: Kind,
    entry: u64,
    segments: Segments,
    pages: Vec<PageRun>,
    program_headers: Option<ProgramHeaders>,
    tls: Option<Tls>,
    abi: AbiVersion,
    permissions: Permissions,
    program: Program,
    build_id: Option<Vec<u8>>,
    relocations: Relocations,
    /// The length of the file when it was opened, and its beginning.
    length: u64,
    head: Vec<u8>,
}

impl Image {
    /// Opens and checks an image, all but its relocations: these are checked as they are applied.
    ///
    /// # Errors
    /// Why the file cannot become a guest.
    pub fn open(path: &Path) -> Result<Image, ImageError> {
        Image::from_file(open_file(path)?, path.to_owned())
    }

    /// Checks an image in a file that is open. The path is used in messages only.
    ///
    /// # Errors
    /// Why the file cannot become a guest.
    pub fn from_file(file: File, path: PathBuf) -> Result<Image, ImageError> {
        Image::from_file_or_back(file, path).map_err(|(error, _)| error)
    }

    /// The same, which gives back a file that is refused.
    pub(crate) fn from_file_or_back(file: File, path: PathBuf) -> Result<Image, (ImageError, File)> {
        match Parts::read(&file) {
            Ok(parts) => Ok(parts.with(file, path)),
            Err(refusal) => Err((ImageError { path, refusal }, file)),
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it may be moved.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// From its lowest to its highest page, those that are not mapped included.
    #[must_use]
    pub fn span(&self) -> Extent {
        self.segments.span
    }

    /// What the bias must be a multiple of: a power of two, at least the size of a page.
    #[must_use]
    pub fn align(&self) -> u64 {
        self.segments.align
    }

    /// Where it starts.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Its pages, by ascending address and without overlap, with the rights that they have once it
    /// is relocated. No page is writable and executable.
    #[must_use]
    pub fn pages(&self) -> &[PageRun] {
        &self.pages
    }

    /// The bytes of all its pages.
    #[must_use]
    pub fn memory_needed(&self) -> u64 {
        // They lie within a span of at most 1 TiB and do not overlap.
        self.pages.iter().map(|run| run.length).sum()
    }

    /// Its program headers, where it loads them.
    #[must_use]
    pub fn program_headers(&self) -> Option<ProgramHeaders> {
        self.program_headers
    }

    /// Its thread-local storage.
    #[must_use]
    pub fn tls(&self) -> Option<Tls> {
        self.tls
    }

    /// What it asks for beyond the ordinary.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// What kind of program it is.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// The version of the contract that it was built for.
    #[must_use]
    pub fn abi(&self) -> AbiVersion {
        self.abi
    }

    /// What its linker called this build of it.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("path", &self.path).field("span", &self.span()).finish_non_exhaustive()
    }
}

/// All of an image but the file.
struct Parts {
    header: Header,
    segments: Segments,
    pages: Vec<PageRun>,
    tls: Option<Tls>,
    abi: AbiVersion,
    program: Program,
    notes: Notes,
    relocations: Relocations,
    length: u64,
    head: Vec<u8>,
}

impl Parts {
    /// Reads and checks a file. What kind of file it is comes before what may be wrong with it.
    fn read(file: &File) -> Result<Parts, Refusal> {
        let source = Source::new(file)?;
        let header = Header::read(&source)?;
        let notes = Notes::read(&source, &header)?;
        let abi = notes.check(&header)?;
        let program = notes.program()?;
        segments::check_stack(&header)?;
        let segments = Segments::read(&source, &header)?;
        let pages = pages::of(&segments, &pages::relro(&header)?)?;
        let tls = tls::read(&header, &segments)?;
        let dynamic = Dynamic::read(&source, &header)?;
        dynamic.check_libraries(&source, &segments)?;
        segments.check_entry(header.entry)?;
        let relocations = Relocations::find(&segments, dynamic)?;
        let (length, head) = source.into_length_and_head();
        Ok(Parts { header, segments, pages, tls, abi, program, notes, relocations, length, head })
    }

    fn with(self, file: File, path: PathBuf) -> Image {
        Image {
            file,
            path,
            kind: self.header.kind,
            entry: self.header.entry,
            program_headers: self.header.loaded(&self.segments),
            segments: self.segments,
            pages: self.pages,
            tls: self.tls,
            abi: self.abi,
            permissions: self.notes.permissions(),
            program: self.program,
            build_id: self.notes.build_id,
            relocations: self.relocations,
            length: self.length,
            head: self.head,
        }
    }
}

fn open_file(path: &Path) -> Result<File, ImageError> {
    crate::runnable::open_file(path)
        .map_err(|cause| ImageError { path: path.to_owned(), refusal: Refusal::Open { cause } })
}
