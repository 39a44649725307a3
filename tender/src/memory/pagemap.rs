//! The kernel's list of the pages that this process has.

use crate::forks::Process;
use std::fs::File;
use std::io;
use std::sync::OnceLock;

/// The list, which a process that may open no files any more has open.
static KEPT: OnceLock<(Process, File)> = OnceLock::new();

/// The list.
#[derive(Debug)]
pub(crate) enum Pagemap {
    /// That one.
    Kept(&'static File),
    /// Opened for now: a child of a fork has another list.
    New(File),
}

impl Pagemap {
    /// The list, from now on open.
    #[cfg(feature = "confine")]
    pub(crate) fn keep() -> io::Result<&'static File> {
        if let Some((_, file)) = KEPT.get() {
            return Ok(file);
        }
        let opened = (Process::this(), open()?);
        Ok(&KEPT.get_or_init(|| opened).1)
    }

    /// The open list, if there is one.
    pub(crate) fn kept() -> Option<&'static File> {
        KEPT.get().filter(|(process, _)| process.is_this()).map(|(_, file)| file)
    }

    /// The list of the process that asks.
    pub(crate) fn of_this_process() -> io::Result<Pagemap> {
        match Pagemap::kept() {
            Some(file) => Ok(Pagemap::Kept(file)),
            None => open().map(Pagemap::New),
        }
    }

    pub(crate) fn file(&self) -> &File {
        match self {
            Pagemap::Kept(file) => file,
            Pagemap::New(file) => file,
        }
    }
}

fn open() -> io::Result<File> {
    File::open("/proc/self/pagemap")
}
