//! Why there is no snapshot.

use crate::instance::{BootError, End};
use crate::layout::size_down;
use crate::machine::MachineError;
use crate::memory::MemoryError;
use coracle_hypercall::version::{AbiVersion, CURRENT};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why no snapshot could be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The program could not be started.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It ended before it was ready.
    #[error("the program ended before it was ready{}", how(end))]
    Ended {
        /// How.
        end: Box<End>,
        /// The crash report, where it crashed.
        report: Option<String>,
        /// What it had written to standard error.
        diagnostics: Vec<u8>,
    },
    /// It was not ready in time.
    #[error("the program was not ready after {0:?}: it still initialises itself")]
    Late(Duration),
    /// A handler wants input before it is ready.
    #[error("the handler reads its input before it is ready: initialise it without input")]
    Input,
    /// It has put out more than is kept of a program that initialises itself.
    #[error("the program put out more than 1 MiB while it initialised itself")]
    Output,
    /// It has loaded segment registers with what is not kept.
    #[error("the program has loaded its segment registers with selectors that no snapshot keeps")]
    Segments,
    /// The CPU has more state than there is room for.
    #[error("the CPU has vector registers that no snapshot has room for")]
    Extended,
    /// The host did not tell the guest's state.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The snapshot could not be put into memory.
    #[error("cannot keep the snapshot in memory: {0}")]
    Memory(io::Error),
    /// What was written is not a snapshot, which is a mistake in Coracle.
    #[error("the snapshot that was taken is not sound, which is a mistake in Coracle: {0}")]
    Unsound(Refusal),
}

impl TakeError {
    /// Whether it is the host that could not, and not the program that failed.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        match self {
            TakeError::Boot(_) | TakeError::Machine(_) | TakeError::Memory(_) => true,
            TakeError::Ended { end, .. } => matches!(**end, End::Dead(_)),
            _ => false,
        }
    }
}

/// How a program ended, where its report does not say.
fn how(end: &End) -> String {
    match end {
        End::Exited(status) => format!(", with status {status}"),
        End::Failed(reason) => format!(": {reason}"),
        End::Dead(dead) => format!(": {dead}"),
        _ => String::new(),
    }
}

/// Why a file is not run as a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {refusal}", path.display())]
pub struct SnapshotError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub refusal: Refusal,
}

impl SnapshotError {
    pub(super) fn new(path: &Path, refusal: Refusal) -> SnapshotError {
        SnapshotError { path: path.to_owned(), refusal }
    }
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file cannot be opened or read.
    #[error("cannot be read ({0}): check the path and that you may read the file")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("is not a snapshot: `coracle snapshot IMAGE -o FILE` makes one")]
    NotASnapshot,
    /// It has another version of the format.
    #[error("is a snapshot of format {0}, and this tender knows format {known}: take it anew with this one",
        known = super::format::VERSION)]
    Version(u32),
    /// The tender that took it spoke another contract.
    #[error("was taken by a tender that speaks contract {0}, and this one speaks {CURRENT}: take it anew")]
    Contract(AbiVersion),
    /// It was taken on another backend.
    #[error("was taken on a backend that is not there here ({0}): take it anew")]
    Backend(u32),
    /// It was taken in a process and is to be run by KVM.
    #[error(
        "was taken in a process, where its program has seen features of the CPU that KVM hides: run it with \
         --backend process, or take it anew with --backend kvm"
    )]
    SeenTheCpu,
    /// The CPU is another one.
    #[error("was taken on a CPU with {0}: take it anew on one like this")]
    Cpu(String),
    /// It needs more memory than a machine can have.
    #[error("needs {} of memory, more than a machine can have here", size_down(*.0))]
    Memory(u64),
    /// The file ends too early, or goes on after its end.
    #[error("is {actual} bytes long and should be {expected}: it was cut or changed, copy it again")]
    Length {
        /// As it should be.
        expected: u64,
        /// As it is.
        actual: u64,
    },
    /// Its beginning was changed.
    #[error("is damaged: its head does not have the digest that it names; copy it again, or take it anew")]
    Head,
    /// Its pages or its image were changed.
    #[error(
        "is damaged: its pages or its image do not have the digest that it names; copy it again, or take it anew"
    )]
    Body,
    /// It contradicts itself or asks for what no image may have.
    #[error("is malformed: {0}")]
    Malformed(&'static str),
}

/// Why no instance could be made of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The host refused the memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The snapshot could not be mapped.
    #[error("cannot map the snapshot: {0}")]
    Map(io::Error),
    /// The host refused.
    #[error(transparent)]
    Machine(#[from] MachineError),
}
