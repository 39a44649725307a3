//! The image within a snapshot, for the names in crash reports.

use super::format::LARGEST_NAMED_IMAGE;
use super::take;
use super::write::{self, Head};
use crate::image::Image;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Copies the image out of a snapshot's file into memory.
pub(super) fn image(file: &File, head: &Head, name: PathBuf) -> io::Result<Image> {
    let (at, length) = (head.header.image_offset, head.header.image_length);
    if length == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // A file with a hole can name any length.
    if length > LARGEST_NAMED_IMAGE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let image = take::memory_file(c"coracle-image")?;
    write::copy(file, at, length, &image, 0, &mut Sha256::new())?;
    image.set_len(length)?;
    Image::from_file(image, name).map_err(io::Error::other)
}
