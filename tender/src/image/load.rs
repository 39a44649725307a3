//! Putting an image into memory.

use super::relocations::Change;
use super::source::Source;
use super::symbols::Value;
use super::{Image, ImageError, Kind, Refusal, RelocationCounts};
use std::fs::File;
use std::io;

/// Memory that an image is loaded into: as many bytes as its [span](Image::span) has, all zero
/// before. Offsets count from the start of the span. Only bytes of its [pages](Image::pages) are
/// written.
pub trait LoadTarget {
    /// Fills `length` bytes at `offset` with those of the file at `file_offset`.
    ///
    /// # Errors
    /// What went wrong, which includes a file that has become shorter.
    fn read_file(&mut self, offset: u64, length: u64, file: &File, file_offset: u64) -> io::Result<()>;

    /// Reads eight bytes at `offset`, little-endian. The offset may be odd.
    ///
    /// # Errors
    /// What went wrong.
    fn read_u64(&self, offset: u64) -> io::Result<u64>;

    /// Writes eight bytes at `offset`, little-endian. The offset may be odd.
    ///
    /// # Errors
    /// What went wrong.
    fn write_u64(&mut self, offset: u64, value: u64) -> io::Result<()>;
}

impl Image {
    /// Fills memory with the image and relocates it by `bias`, a multiple of its
    /// [alignment](Image::align).
    ///
    /// # Errors
    /// The target's error, that a program with fixed addresses was to be moved, or a relocation that
    /// is not taken. After an error the memory holds a part of the image.
    pub fn load(&self, target: &mut dyn LoadTarget, bias: u64) -> Result<(), ImageError> {
        self.load_into(target, bias).map_err(|refusal| self.refused(refusal))
    }

    /// Checks all relocations as loading does, and counts them.
    ///
    /// # Errors
    /// A relocation that is not taken.
    pub fn check_relocations(&self) -> Result<RelocationCounts, ImageError> {
        let counts = self.relocations.each(&self.source(), &self.segments, &mut |_, _| Ok(()));
        counts.map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> ImageError {
        ImageError { path: self.path.clone(), refusal }
    }

    fn source(&self) -> Source<'_> {
        Source::known(&self.file, self.length, &self.head)
    }

    fn load_into(&self, target: &mut dyn LoadTarget, bias: u64) -> Result<(), Refusal> {
        if self.kind == Kind::Fixed && bias != 0 {
            return Err(Refusal::Fixed { bias });
        }
        for segment in self.segments.iter() {
            // What nothing can read is only a gap in the addresses.
            if segment.file_size > 0 && !segment.rights.is_empty() {
                let offset = segment.address - self.segments.span.start;
                target.read_file(offset, segment.file_size, &self.file, segment.file_offset).map_err(
                    |cause| match cause.kind() {
                        io::ErrorKind::UnexpectedEof => Refusal::Read { cause },
                        _ => Refusal::Memory { cause },
                    },
                )?;
            }
        }
        let mut apply = |offset, change| {
            let value = match change {
                Change::Move => target.read_u64(offset)?.wrapping_add(bias),
                Change::Write(Value::Place(place)) => place.wrapping_add(bias),
                Change::Write(Value::Number(number)) => number,
            };
            target.write_u64(offset, value)
        };
        self.relocations.each(&self.source(), &self.segments, &mut |offset, change| {
            apply(offset, change).map_err(|cause| Refusal::Memory { cause })
        })?;
        Ok(())
    }
}
