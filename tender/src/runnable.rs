//! What `coracle run` is given: an image or a snapshot, told apart by the beginning of the file.

use crate::image::{Image, ImageError, Looks, Refusal};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// A file that can be run.
#[derive(Debug)]
pub enum Runnable {
    /// An image, checked.
    Image(Arc<Image>),
    /// The file of a snapshot, of which no more than its first bytes has been looked at.
    Snapshot(File),
}

impl Runnable {
    /// Opens a file. For an image this costs what [`Image::open`] does: what refuses to take a snapshot
    /// for one has seen what it is.
    ///
    /// # Errors
    /// Why the file is neither.
    pub fn open(path: &Path) -> Result<Runnable, ImageError> {
        let opened = open_file(path);
        let file =
            opened.map_err(|cause| ImageError { path: path.to_owned(), refusal: Refusal::Open { cause } })?;
        match Image::from_file_or_back(file, path.to_owned()) {
            Ok(image) => Ok(Runnable::Image(Arc::new(image))),
            Err((ImageError { refusal: Refusal::NotElf { looks: Looks::Snapshot }, .. }, file)) => {
                Ok(Runnable::Snapshot(file))
            }
            Err((error, _)) => Err(error),
        }
    }
}

impl Runnable {
    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        match self {
            Runnable::Image(image) => image.file(),
            Runnable::Snapshot(file) => file,
        }
    }
}

/// Opens a file for reading, without waiting where it is a pipe.
///
/// # Errors
/// The host's.
pub fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}
