//! A guest as it was when it was ready, to make instances of.
//!
//! | file | what it does |
//! |---|---|
//! | `format` | the file's format |
//! | `take` | runs a program until it is ready and keeps what it is then |
//! | `write` | puts that into a file |
//! | `save` | gives that its name when all of it is written |
//! | `open` | finds it in a file and checks it |
//! | `inspect` | shows what a file says |
//! | `embedded` | the image within it |
//! | `base` | its memory, shared by all instances |
//! | `error` | why there is no snapshot |
//!
//! One that was just taken is such a file too, in memory, sealed.

pub mod format;

mod base;
mod embedded;
mod error;
mod inspect;
mod open;
mod save;
mod take;
mod write;

pub use error::{Refusal, ResumeError, SnapshotError, TakeError};
pub use inspect::Inspection;
pub use take::Said;

pub(crate) use base::Base;
pub(crate) use take::memory_file;

use crate::calls::Awaited;
use crate::cpu::saved::Saved;
use crate::image::Image;
use crate::layout::{Physical, Places};
use crate::machine::{Host, Tables};
use crate::memory::Memory;
use crate::runnable::open_file;
use coracle_hypercall::event::EventSources;
use coracle_hypercall::memory::PAGE;
use coracle_hypercall::note::{Permissions, Program};
use format::{Header, Run};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use write::Head;

/// A guest as it was when it was ready. It never changes; instances are made of it in any number.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) host: Arc<Host>,
    pub(crate) base: Base,
    pub(crate) saved: Saved,
    pub(crate) physical: Physical,
    pub(crate) places: Places,
    pub(crate) tables: Tables,
    pub(crate) next_table: u64,
    pub(crate) program: Program,
    pub(crate) permissions: Permissions,
    /// Where the guest waits for its invocation; `None` when it has not run yet.
    pub(crate) invocation: Option<Awaited>,
    pub(crate) subscribed: EventSources,
    /// When its monotonic clock would have read zero.
    pub(crate) clock_start: Instant,
    /// Pages that runs write to, as the first one did.
    hot: OnceLock<Vec<Run>>,
    name: PathBuf,
    image: OnceLock<Option<Arc<Image>>>,
    head: Head,
    file: File,
}

impl Snapshot {
    /// Opens a snapshot's file and checks its head: what it says of itself, the CPU that it needs, its
    /// page tables. Its pages are mapped and not looked at.
    ///
    /// # Errors
    /// Why it is not run here.
    pub fn open(host: &Arc<Host>, path: &Path) -> Result<Snapshot, SnapshotError> {
        let file = open_file(path).map_err(|error| SnapshotError::new(path, error.into()))?;
        Snapshot::from_file(host, file, path)
    }

    /// The same for a file that is open. The path is used in messages only.
    ///
    /// # Errors
    /// Why it is not run here.
    pub fn from_file(host: &Arc<Host>, file: File, path: &Path) -> Result<Snapshot, SnapshotError> {
        open::open(host, file, false, None).map_err(|refusal| SnapshotError::new(path, refusal))
    }

    /// Whether a file begins as a snapshot does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_one(file: &File) -> io::Result<bool> {
        let mut magic = [0; format::MAGIC.len()];
        match file.read_exact_at(&mut magic, 0) {
            Ok(()) => Ok(magic == format::MAGIC),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks all bytes of a snapshot's file against its digests.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(path: &Path, progress: impl FnMut(u64, u64)) -> Result<(), SnapshotError> {
        open::verify(path, progress).map_err(|refusal| SnapshotError::new(path, refusal))
    }

    /// Writes it into a file, which is replaced when all of it is written. Only its owner may read it: it has
    /// all that the guest had in memory.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        save::whole(path, |file| self.write_to(file))
    }

    /// The same, in memory of this process: it no longer depends on its file, which somebody may cut, and
    /// calls of its instances cost less. That reads all of it, as it is by now: the digest of its pages is not
    /// compared ([`verify`](Self::verify) does that), and what decides what a guest may do is checked anew.
    ///
    /// # Errors
    /// The host's; when the file was cut, or so changed since it was opened that it would be refused now.
    pub fn into_memory(self) -> io::Result<Snapshot> {
        let file = memory_file(c"coracle-snapshot")?;
        self.write_to(&file)?;
        take::seal(&file)?;
        open::open(&self.host, file, true, self.image.get().and_then(Option::as_ref))
            .map_err(io::Error::other)
    }

    /// Fills memory that is zero with what the guest had in it.
    ///
    /// # Errors
    /// The host's, when the file was cut.
    pub(crate) fn fill(&self, memory: &Memory) -> io::Result<()> {
        for run in &self.head.runs {
            let (at, length) = (run.first * PAGE, run.count * PAGE);
            memory.fill_from(at, length, &self.file, self.head.header.data_offset + at)?;
        }
        Ok(())
    }

    /// Learns which pages a run writes to, from the first that is known.
    pub(crate) fn learn_hot(&self, pages: &[u64]) {
        self.hot.get_or_init(|| join(pages.iter().take(MOST_HOT)));
    }

    /// The pages that runs write to, as far as that is known.
    pub(crate) fn hot(&self) -> &[Run] {
        self.hot.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether its file has become shorter than it was when it was opened.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        let Header { image_offset, image_length, .. } = self.head.header;
        let whole = image_offset.saturating_add(image_length);
        self.file.metadata().is_ok_and(|now| now.len() < whole)
    }

    /// What kind of program it is of.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// The path of the image that it was made from, for messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The bytes of memory that each instance has.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.base.size()
    }

    /// The bytes of its pages that are not all zero, which instances share.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.head.header.page_count * PAGE
    }

    /// Whether the program has said that it is ready; else it is as it is before its first instruction.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.invocation.is_some()
    }

    /// The image, for crash reports: `None` when the snapshot does not have it.
    #[must_use]
    pub fn image(&self) -> Option<&Arc<Image>> {
        self.image.get_or_init(|| self.embedded_image().ok().map(Arc::new)).as_ref()
    }

    fn embedded_image(&self) -> io::Result<Image> {
        embedded::image(&self.file, &self.head, self.name.clone())
    }
}

/// The most pages that every new instance gets copies of before it runs.
const MOST_HOT: usize = 256;

/// Pages in ascending order as runs.
fn join<'a>(pages: impl Iterator<Item = &'a u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some(last) if last.first + last.count == page => last.count += 1,
            _ => runs.push(Run { first: page, count: 1 }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::{Run, join};

    #[test]
    fn pages_that_follow_each_other_are_one_run() {
        let run = |first, count| Run { first, count };
        assert_eq!(join([1, 2, 3, 7, 9, 10].iter()), [run(1, 3), run(7, 1), run(9, 2)]);
    }
}
