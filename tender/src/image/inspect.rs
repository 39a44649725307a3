//! What a file holds, for `coracle inspect`: as much as can be told, whether it is taken or not.

mod render;
mod sections;

pub(crate) use render::{Size, line};
pub use sections::Sections;

use super::dynamic::Dynamic;
use super::header::Header;
use super::notes::{Iter, Notes};
use super::segments::{Segments, rights};
use super::source::{Source, printable};
use super::{Image, ImageError, Kind, Refusal, RelocationCounts, open_file};
use coracle_hypercall::note::{Permissions, Program};
use coracle_hypercall::version::CURRENT;
use goblin::elf::program_header::{PF_X, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_NOTE, PT_TLS};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The most notes of one segment that are listed.
const MOST_NOTES: usize = 64;

/// The longest path of an interpreter that is shown.
const LONGEST_INTERPRETER: u64 = 256;

/// What is known of a file. What could not be read is absent, and `refusal` says why.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The path it was opened by.
    pub path: String,
    /// Its length in bytes.
    pub file_size: u64,
    /// Whether it may be moved.
    pub kind: Option<Kind>,
    /// Where it starts, as linked.
    pub entry: Option<u64>,
    /// The version of the contract that it was built for.
    pub contract: Option<String>,
    /// The version that this tender speaks.
    pub tender_contract: String,
    /// What kind of program it is: "main", "handler", "http".
    pub program: Option<&'static str>,
    /// What it asks for beyond the ordinary.
    pub permissions: Vec<String>,
    /// What its linker called this build of it, in hexadecimal.
    pub build_id: Option<String>,
    /// The bytes of memory that it takes by itself, without stack and heap.
    pub memory: Option<u64>,
    /// What it wants loaded, in the order of the file.
    pub segments: Vec<Segment>,
    /// What becomes read-only once it is relocated.
    pub relro: Vec<Range>,
    /// Its thread-local storage.
    pub tls: Option<ThreadLocals>,
    /// Whether it wants to execute its stack.
    pub executable_stack: bool,
    /// The dynamic linker that Linux would start it with. A tender ignores it.
    pub interpreter: Option<String>,
    /// The shared libraries that it needs.
    pub libraries: Vec<String>,
    /// How many words of it are relocated.
    pub relocations: Option<RelocationCounts>,
    /// Its notes.
    pub notes: Vec<Note>,
    /// What a crash report can draw on.
    pub sections: Option<Sections>,
    /// Why `coracle run` would not take it.
    pub refusal: Option<String>,
}

/// A segment to be loaded, as the file has it.
#[derive(Debug, Clone, Serialize)]
pub struct Segment {
    /// Where it goes, as linked.
    pub address: u64,
    /// Its bytes in memory.
    pub size: u64,
    /// Where it comes from.
    pub file_offset: u64,
    /// Its bytes in the file.
    pub file_size: u64,
    /// What the guest may do with it: `r`, `w` and `x`.
    pub rights: String,
    /// The alignment that it asks for.
    pub align: u64,
}

/// A run of addresses, as linked.
#[derive(Debug, Clone, Serialize)]
pub struct Range {
    /// The first one.
    pub address: u64,
    /// The length in bytes.
    pub size: u64,
}

/// Thread-local storage, as the file has it.
#[derive(Debug, Clone, Serialize)]
pub struct ThreadLocals {
    /// Where its template lies.
    pub address: u64,
    /// The bytes of the template.
    pub file_size: u64,
    /// The bytes that a thread needs.
    pub size: u64,
    /// The alignment that it asks for.
    pub align: u64,
}

/// A note, without what it says.
#[derive(Debug, Clone, Serialize)]
pub struct Note {
    /// Whose note it is.
    pub owner: String,
    /// Its type, which has a meaning for each owner.
    #[serde(rename = "type")]
    pub note_type: u32,
    /// The bytes of what it says.
    pub size: u64,
}

impl Inspection {
    /// Looks at a file.
    ///
    /// # Errors
    /// That it cannot be opened or read at all. That it is not an image is no error here.
    pub fn of(path: &Path) -> Result<Inspection, ImageError> {
        Inspection::of_file(open_file(path)?, path.to_owned())
    }

    /// Looks at a file that is open.
    ///
    /// # Errors
    /// That it cannot be read at all.
    pub fn of_file(file: File, path: PathBuf) -> Result<Inspection, ImageError> {
        let mut inspection = Inspection::empty(&path);
        let look = |inspection: &mut Inspection| -> Result<(), Refusal> {
            let source = Source::new(&file)?;
            inspection.file_size = source.length();
            inspection.look(&source);
            Ok(())
        };
        if let Err(refusal) = look(&mut inspection) {
            return Err(ImageError { path, refusal });
        }
        // What follows moves the file's position, which nothing else here uses.
        inspection.sections = inspection.kind.and_then(|_| Sections::of(&file));
        match Image::from_file(file, path) {
            Ok(image) => {
                inspection.memory = Some(image.memory_needed());
                match image.check_relocations() {
                    Ok(counts) => inspection.relocations = Some(counts),
                    Err(error) => inspection.refusal = Some(error.to_string()),
                }
            }
            Err(error) => inspection.refusal = Some(error.to_string()),
        }
        Ok(inspection)
    }

    fn empty(path: &Path) -> Inspection {
        Inspection {
            path: path.display().to_string(),
            file_size: 0,
            kind: None,
            entry: None,
            contract: None,
            tender_contract: CURRENT.to_string(),
            program: None,
            permissions: Vec::new(),
            build_id: None,
            memory: None,
            segments: Vec::new(),
            relro: Vec::new(),
            tls: None,
            executable_stack: false,
            interpreter: None,
            libraries: Vec::new(),
            relocations: None,
            notes: Vec::new(),
            sections: None,
            refusal: None,
        }
    }

    /// Takes down all that can be read; what cannot is left for the refusal to name.
    fn look(&mut self, source: &Source<'_>) {
        let Ok(header) = Header::read(source) else { return };
        self.kind = Some(header.kind);
        self.entry = Some(header.entry);
        self.look_at_program_headers(&header);
        self.look_at_notes(source, &header);
        if let Some(path) = header.of_type(PT_INTERP).next()
            && let Ok(bytes) = source.read("path", path.p_offset, path.p_filesz.min(LONGEST_INTERPRETER))
        {
            self.interpreter = Some(printable(bytes.split(|&byte| byte == 0).next().unwrap_or_default()));
        }
        if let (Ok(segments), Ok(dynamic)) = (Segments::read(source, &header), Dynamic::read(source, &header))
        {
            self.libraries = dynamic.libraries(source, &segments);
        }
    }

    fn look_at_program_headers(&mut self, header: &Header) {
        let segment = |header: &goblin::elf64::program_header::ProgramHeader| Segment {
            address: header.p_vaddr,
            size: header.p_memsz,
            file_offset: header.p_offset,
            file_size: header.p_filesz,
            rights: rights(header.p_flags).to_string(),
            align: header.p_align,
        };
        self.segments = header.of_type(PT_LOAD).map(segment).collect();
        self.relro = header
            .of_type(PT_GNU_RELRO)
            .map(|part| Range { address: part.p_vaddr, size: part.p_memsz })
            .collect();
        self.tls = header.of_type(PT_TLS).next().map(|tls| ThreadLocals {
            address: tls.p_vaddr,
            file_size: tls.p_filesz,
            size: tls.p_memsz,
            align: tls.p_align,
        });
        self.executable_stack = header.of_type(PT_GNU_STACK).any(|stack| stack.p_flags & PF_X != 0);
    }

    fn look_at_notes(&mut self, source: &Source<'_>, header: &Header) {
        if let Ok(notes) = Notes::read(source, header) {
            self.contract = notes.abi().map(|version| version.to_string());
            self.program = notes.program().ok().filter(|_| self.contract.is_some()).map(Program::label);
            self.permissions = permissions(notes.permissions());
            let digits = |id: Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect();
            self.build_id = notes.build_id.map(digits);
        }
        for segment in header.of_type(PT_NOTE) {
            let length = segment.p_filesz.min(super::notes::MOST_BYTES);
            let Ok(bytes) = source.read("notes", segment.p_offset, length) else { continue };
            for note in Iter::new(&bytes, segment.p_align).flatten().take(MOST_NOTES) {
                let owner = note.owner.strip_suffix(b"\0").unwrap_or(note.owner);
                let owner = printable(owner.get(..owner.len().min(64)).unwrap_or_default());
                self.notes.push(Note {
                    owner,
                    note_type: note.note_type,
                    size: note.descriptor.len() as u64,
                });
            }
        }
    }
}

/// What an image asks for, in words.
pub(crate) fn permissions(permissions: Permissions) -> Vec<String> {
    let mut words: Vec<String> = permissions.iter_names().map(|(name, _)| permission(name)).collect();
    let unknown = permissions.difference(Permissions::all());
    if !unknown.is_empty() {
        words.push(format!("unknown ({:#x})", unknown.bits()));
    }
    words
}

/// `CODE_AT_RUN_TIME` becomes "code at run time".
fn permission(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', " ")
}
