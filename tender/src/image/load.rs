//! Putting an image into memory.

use super::{Image, ImageError, Kind, Refusal};
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
    /// The target's error, or that a program with fixed addresses was to be moved.
    pub fn load(&self, target: &mut dyn LoadTarget, bias: u64) -> Result<(), ImageError> {
        self.load_into(target, bias).map_err(|refusal| ImageError { path: self.path.clone(), refusal })
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
        let memory = |cause| Refusal::Memory { cause };
        for fixup in &self.fixups.places {
            target.write_u64(fixup.offset, fixup.value.wrapping_add(bias)).map_err(memory)?;
        }
        for fixup in &self.fixups.numbers {
            target.write_u64(fixup.offset, fixup.value).map_err(memory)?;
        }
        Ok(())
    }
}
