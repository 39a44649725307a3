//! The notes: the contract's version, permissions, the kind of program, the build id.

use super::error::Refusal;
use super::header::Header;
use super::source::Source;
use coracle_hypercall::note::{OWNER, Permissions, Program, TYPE_ABI, TYPE_PERMISSIONS, TYPE_PROGRAM};
use coracle_hypercall::version::{AbiVersion, CURRENT};
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::program_header::PT_NOTE;
use zerocopy::FromBytes;

/// The most bytes of notes in one segment. Images have about a hundred.
pub(super) const MOST_BYTES: u64 = 64 * 1024;

/// The longest build id that is kept. Linkers make 8 to 20 bytes, a person may choose more.
const LONGEST_BUILD_ID: usize = 64;

/// What the notes say, before it is judged.
#[derive(Default)]
pub(super) struct Notes {
    /// A program that links two versions of the libos has more than one.
    abi: Vec<AbiVersion>,
    permissions: u32,
    /// Numbers of [`Program`].
    programs: Vec<u32>,
    pub(super) build_id: Option<Vec<u8>>,
}

impl Notes {
    /// Reads all notes.
    pub(super) fn read(source: &Source<'_>, header: &Header) -> Result<Notes, Refusal> {
        let mut notes = Notes::default();
        for segment in header.of_type(PT_NOTE) {
            if segment.p_filesz > MOST_BYTES {
                return Err(malformed("it is larger than 64 KiB"));
            }
            let bytes = source.read("notes", segment.p_offset, segment.p_filesz)?;
            for note in Iter::new(&bytes, segment.p_align) {
                notes.add(&note?)?;
            }
        }
        Ok(notes)
    }

    fn add(&mut self, note: &Note<'_>) -> Result<(), Refusal> {
        match (note.owner, note.note_type) {
            (owner, TYPE_ABI) if owner == OWNER => {
                // A later major version may put more behind it.
                let (version, _) = AbiVersion::read_from_prefix(note.descriptor)
                    .map_err(|_| malformed("the version is shorter than 4 bytes"))?;
                self.abi.push(version);
            }
            (owner, TYPE_PERMISSIONS) if owner == OWNER => {
                let bits = note.descriptor.try_into().map(u32::from_le_bytes);
                self.permissions |= bits.map_err(|_| malformed("the permissions are not 4 bytes"))?;
            }
            (owner, TYPE_PROGRAM) if owner == OWNER => {
                let number = note.descriptor.try_into().map(u32::from_le_bytes);
                self.programs.push(number.map_err(|_| malformed("the kind of program is not 4 bytes"))?);
            }
            (b"GNU\0", NT_GNU_BUILD_ID) if (1..=LONGEST_BUILD_ID).contains(&note.descriptor.len()) => {
                self.build_id = Some(note.descriptor.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    /// The version that the image was built for, the highest one when there are several.
    pub(super) fn abi(&self) -> Option<AbiVersion> {
        self.abi.iter().copied().max_by_key(|version| (version.major, version.minor))
    }

    /// The permissions, known and unknown.
    pub(super) fn permissions(&self) -> Permissions {
        Permissions::from_bits_retain(self.permissions)
    }

    /// What kind of program it is.
    pub(super) fn program(&self) -> Result<Program, Refusal> {
        match self.programs.as_slice() {
            [] => Ok(Program::Main),
            [number] => Program::from_number(*number).ok_or(Refusal::UnknownProgram { number: *number }),
            [..] => Err(malformed("they name more than one kind of program: an image has one handler")),
        }
    }

    /// Whether this tender can run what the notes describe.
    pub(super) fn check(&self, header: &Header) -> Result<AbiVersion, Refusal> {
        for &image in &self.abi {
            if !CURRENT.runs(image) {
                return Err(match image.major.cmp(&CURRENT.major) {
                    std::cmp::Ordering::Less => Refusal::OtherContract { image, tender: CURRENT },
                    _ => Refusal::NewerContract { image, tender: CURRENT },
                });
            }
        }
        let abi = self.abi().ok_or_else(|| header.without_note())?;
        match self.permissions & !Permissions::all().bits() {
            0 => Ok(abi),
            bits => Err(Refusal::UnknownPermissions { bits }),
        }
    }
}

/// One note.
pub(super) struct Note<'b> {
    /// With its terminating NUL.
    pub(super) owner: &'b [u8],
    pub(super) note_type: u32,
    pub(super) descriptor: &'b [u8],
}

/// The notes of one segment; the first one that is malformed is the last.
pub(super) struct Iter<'b> {
    rest: &'b [u8],
    align: usize,
}

impl<'b> Iter<'b> {
    /// `align` is the segment's: notes in one that is aligned to 8 are padded to 8, all others to 4.
    pub(super) fn new(rest: &'b [u8], align: u64) -> Iter<'b> {
        Iter { rest, align: if align == 8 { 8 } else { 4 } }
    }

    fn parse(&self) -> Option<(Note<'b>, &'b [u8])> {
        let (words, _) = <[[u8; 4]; 3]>::read_from_prefix(self.rest).ok()?;
        let [name_size, descriptor_size, note_type] = words.map(u32::from_le_bytes);
        let name_end = 12usize.checked_add(usize::try_from(name_size).ok()?)?;
        let descriptor_start = name_end.checked_next_multiple_of(self.align)?;
        let descriptor_end = descriptor_start.checked_add(usize::try_from(descriptor_size).ok()?)?;
        let note = Note {
            owner: self.rest.get(12..name_end)?,
            note_type,
            descriptor: self.rest.get(descriptor_start..descriptor_end)?,
        };
        // The last note of a segment may lack its padding.
        let next = descriptor_end.checked_next_multiple_of(self.align)?;
        Some((note, self.rest.get(next..).unwrap_or_default()))
    }
}

impl<'b> Iterator for Iter<'b> {
    type Item = Result<Note<'b>, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.parse() {
            Some((note, rest)) => {
                self.rest = rest;
                Some(Ok(note))
            }
            None => {
                self.rest = &[];
                Some(Err(malformed("it is longer than its segment")))
            }
        }
    }
}

fn malformed(reason: &'static str) -> Refusal {
    Refusal::MalformedNote { reason }
}
