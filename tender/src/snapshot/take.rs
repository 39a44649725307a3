//! Runs a program until it is ready, and keeps what it is then.

use super::format::{BACKEND_KVM, BACKEND_PROCESS, Header, MAGIC, READY, Range, VERSION};
use super::write::{self, Head};
use super::{Snapshot, TakeError, open};
use crate::calls::{Abort, Caller};
use crate::cpu::saved::Saved;
use crate::image::Image;
use crate::instance::{Config, End, Instance};
use crate::layout::{BOOT, CLOCK_OFFSET, EXTENDED_LENGTH, EXTENDED_OFFSET, Extent, TARGET_OFFSET};
use crate::machine::{Host, Machine};
use coracle_hypercall::clock::ClockPage;
use coracle_hypercall::memory::PAGE;
use coracle_hypercall::note::Program;
use coracle_hypercall::version;
use sha2::{Digest, Sha256};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// What a program wrote while it initialised itself.
#[derive(Debug, Default, Clone)]
pub struct Said {
    /// To standard output.
    pub output: Vec<u8>,
    /// To standard error.
    pub diagnostics: Vec<u8>,
}

/// The most that is kept of either.
const MOST: usize = 1 << 20;

/// The caller of a program that is not ready: it has no input.
impl Caller for Said {
    fn total(&self) -> Option<u64> {
        None
    }

    fn input(&mut self, _: Option<Instant>) -> Result<&[u8], Abort> {
        Err(Abort::NotReady)
    }

    fn consume(&mut self, _: usize) {}

    fn room(&mut self, length: usize) -> Result<&mut Vec<u8>, Abort> {
        if self.output.len() + length > MOST {
            return Err(Abort::TooMuchOutput);
        }
        Ok(&mut self.output)
    }

    fn appended(&mut self, _: Option<Instant>) -> Result<(), Abort> {
        Ok(())
    }

    fn diagnostics_room(&self) -> usize {
        MOST.saturating_sub(self.diagnostics.len())
    }

    fn diagnostics(&mut self, text: &[u8]) {
        let room = self.diagnostics_room();
        self.diagnostics.extend(text.iter().take(room));
    }

    fn function(&mut self, _: &str, _: &[u8], _: Option<Instant>) -> Option<Result<Vec<u8>, String>> {
        None
    }
}

impl Snapshot {
    /// Boots an image, runs it until it says that it is ready, for no longer than `limit`, and keeps what
    /// it is then. What it writes meanwhile is answered beside.
    ///
    /// An ordinary program that reads its input, waits for it, or ends without having said so is kept as it
    /// is before its first instruction. Such a program is started twice.
    ///
    /// # Errors
    /// See [`TakeError`].
    pub fn take(
        host: &Arc<Host>,
        image: &Arc<Image>,
        config: &Config,
        limit: Duration,
    ) -> Result<(Snapshot, Said), TakeError> {
        let mut instance = Instance::boot(host, image, config)?;
        let mut said = Said::default();
        let end = instance.initialise(&mut said, limit);
        let main = image.program() == Program::Main;
        match end {
            End::Ready(invocation) => {
                let saved = instance.machine().save()?;
                let saved = saved.ok_or(TakeError::Segments)?;
                Ok((keep(host, image, &instance, saved, Some(invocation))?, said))
            }
            End::Aborted(Abort::NotReady) | End::Exited(_) if main => {
                drop(instance);
                let instance = Instance::boot(host, image, config)?;
                let saved = instance.machine().save_start();
                Ok((keep(host, image, &instance, saved, None)?, Said::default()))
            }
            End::Aborted(Abort::NotReady) => Err(TakeError::Input),
            End::Aborted(Abort::TooMuchOutput) => Err(TakeError::Output),
            End::TimedOut => Err(TakeError::Late(limit)),
            end => {
                let report = instance.report(&end, None).map(|report| report.to_string());
                Err(TakeError::Ended { end: Box::new(end), report, diagnostics: said.diagnostics })
            }
        }
    }

    /// Writes all of it, its image included.
    pub(super) fn write_to(&self, file: &File) -> io::Result<()> {
        let mut head = self.head.clone();
        let mut digest = Sha256::new();
        for run in &head.runs {
            let at = head.header.data_offset + run.first * PAGE;
            write::copy(&self.file, at, run.count * PAGE, file, at, &mut digest)?;
        }
        if let Some(Some(image)) = self.image.get() {
            head.header.image_length = image.file().metadata()?.len();
            let at = head.header.image_offset;
            write::copy(image.file(), 0, head.header.image_length, file, at, &mut digest)?;
        } else {
            let (at, length) = (head.header.image_offset, head.header.image_length);
            write::copy(&self.file, at, length, file, at, &mut digest)?;
        }
        head.header.body_digest = digest.finalize().into();
        file.set_len(head.header.image_offset + head.header.image_length)?;
        file.write_all_at(&head.bytes(), 0)
    }
}

/// A file in memory.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; the call gives a new descriptor or an error.
    let descriptor = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Sees to it that a file in memory is neither changed nor cut any more.
pub(super) fn seal(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: the call takes numbers alone.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts an instance into a file in memory, seals that and opens it as every snapshot is opened.
fn keep(
    host: &Arc<Host>,
    image: &Arc<Image>,
    instance: &Instance,
    saved: Saved,
    invocation: Option<u64>,
) -> Result<Snapshot, TakeError> {
    let memory = instance.machine().memory();
    let mut extended = instance.machine().extended_state()?;
    if extended.iter().skip(EXTENDED_LENGTH as usize).any(|byte| *byte != 0) {
        return Err(TakeError::Extended);
    }
    extended.truncate(EXTENDED_LENGTH as usize);
    // The clock page has expired in every instance.
    let expired = ClockPage::new_zeroed();
    memory
        .write(BOOT + EXTENDED_OFFSET, &extended)
        .and_then(|()| memory.write(BOOT + CLOCK_OFFSET, expired.as_bytes()))
        .and_then(|()| memory.write_u64(BOOT + TARGET_OFFSET, saved.registers.rip))
        .map_err(|error| TakeError::Memory(io::Error::other(error)))?;
    let head = head(host, image, instance, &saved, invocation).map_err(TakeError::Memory)?;
    let file = memory_file(c"coracle-snapshot").map_err(TakeError::Memory)?;
    let write = || {
        file.write_all_at(&head.bytes(), 0)?;
        write::pages(memory, &head, &file)?;
        file.set_len(head.header.image_offset)?;
        seal(&file)
    };
    write().map_err(TakeError::Memory)?;
    open::open(host, file, true, Some(image)).map_err(TakeError::Unsound)
}

fn head(
    host: &Host,
    image: &Image,
    instance: &Instance,
    saved: &Saved,
    invocation: Option<u64>,
) -> io::Result<Head> {
    let range = |extent: Extent| Range { start: extent.start, length: extent.length };
    let places = instance.places();
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        abi: version::CURRENT,
        backend: match host {
            Host::Kvm(_) => BACKEND_KVM,
            Host::Process(_) => BACKEND_PROCESS,
        },
        flags: if invocation.is_some() { READY } else { 0 },
        program: image.program() as u32,
        permissions: image.permissions().bits(),
        memory: instance.machine().memory().size(),
        image_pages: instance.physical().image.length,
        places: [places.image, places.stack, places.heap, places.system].map(range),
        boot: places.boot,
        bias: places.bias,
        stack_skip: places.stack_skip,
        next_table: instance.next_table(),
        invocation: invocation.unwrap_or_default(),
        monotonic_ns: if invocation.is_some() { instance.monotonic_ns() } else { 0 },
        subscribed: instance.subscribed().bits(),
        xcr0: host.features().xcr0,
        registers: saved.registers.to_array(),
        selectors: saved.segments.selectors,
        fs_base: saved.segments.fs_base,
        gs_base: saved.segments.gs_base,
        ..Header::new_zeroed()
    };
    let mut head = Head {
        header,
        cpuid: host.cpuid_entries(),
        runs: write::runs(instance.machine().memory())?,
        name: image
            .path()
            .as_os_str()
            .as_bytes()
            .iter()
            .take(super::format::LONGEST_NAME as usize)
            .copied()
            .collect(),
    };
    head.measure();
    Ok(head)
}
