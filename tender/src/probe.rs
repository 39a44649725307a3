//! A guest of a few instructions, to see whether VMs run here and what they cost.
//!
//! It is a complete image, so that it takes the way that every image takes.

use crate::calls::Console;
use crate::image::{Image, ImageError};
use crate::instance::{BootError, Config, End, Instance};
use crate::machine::Host;
use coracle_hypercall::boot::{AT_CORACLE, BootInfo};
use coracle_hypercall::call::Call;
use coracle_hypercall::{note, version};
use std::arch::global_asm;
use std::fs::File;
use std::io::{self, Write};
use std::mem::offset_of;
use std::os::fd::FromRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

// The whole file but for its last four bytes: ELF header, two program headers, note, code (System V
// gABI, chapters 4 and 5).
global_asm!(
    ".pushsection .rodata.coracle_probe, \"a\"",
    ".balign 16",
    "coracle_probe_start:",
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    // Position-independent, x86-64, version 1; entry, program headers, no section headers.
    ".short 3, 62",
    ".long 1",
    ".quad coracle_probe_code - coracle_probe_start, 64, 0",
    ".long 0",
    ".short 64, 56, 2, 0, 0, 0",
    // PT_LOAD, readable and executable, all of the file.
    ".long 1, 5",
    ".quad 0, 0, 0",
    ".quad coracle_probe_end - coracle_probe_start + 4",
    ".quad coracle_probe_end - coracle_probe_start + 4",
    ".quad 4096",
    // PT_NOTE, readable.
    ".long 4, 4",
    ".quad coracle_probe_note - coracle_probe_start",
    ".quad coracle_probe_note - coracle_probe_start",
    ".quad coracle_probe_note - coracle_probe_start",
    ".quad coracle_probe_code - coracle_probe_note",
    ".quad coracle_probe_code - coracle_probe_note",
    ".quad 4",
    "coracle_probe_note:",
    ".long {owner_length}, 4, {note_type}",
    ".quad {owner}",
    ".short {major}, {minor}",
    "coracle_probe_code:",
    // Past the arguments, past the environment, to the auxiliary vector.
    "    mov rcx, [rsp]",
    "    lea rbx, [rsp + rcx * 8 + 16]",
    "2:  cmp qword ptr [rbx], 0",
    "    lea rbx, [rbx + 8]",
    "    jne 2b",
    "3:  cmp qword ptr [rbx], {at_coracle}",
    "    je 4f",
    "    add rbx, 16",
    "    jmp 3b",
    "4:  mov rbx, [rbx + 8]",
    "    mov rbx, [rbx + {entry}]",
    "    mov r12d, [rip + coracle_probe_end]",
    "    inc r12d",
    "5:  dec r12d",
    "    jz 6f",
    "    mov edi, {nothing}",
    "    call rbx",
    "    jmp 5b",
    "6:  mov edi, {exit}",
    "    xor esi, esi",
    "    call rbx",
    "    .balign 4, 0xcc",
    // Here follows the number of calls to make, 32 bits.
    "coracle_probe_end:",
    ".popsection",
    owner_length = const note::OWNER.len(),
    note_type = const note::TYPE_ABI,
    owner = const u64::from_le_bytes(note::OWNER),
    major = const version::CURRENT.major,
    minor = const version::CURRENT.minor,
    at_coracle = const AT_CORACLE,
    entry = const offset_of!(BootInfo, entry),
    nothing = const Call::Nothing as u64,
    exit = const Call::Exit as u64,
);

unsafe extern "C" {
    static coracle_probe_start: u8;
    static coracle_probe_end: u8;
}

/// Why no guest ran.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe's file could not be made.
    #[error("cannot make the probe's image in memory: {0}")]
    File(#[from] io::Error),
    /// The probe is not an image, which is a mistake in Coracle.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It could not be started.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It did not end as it should.
    #[error("the probe did not run as it should: {0:?}")]
    End(Box<End>),
}

/// What a guest costs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// From nothing to the guest's first call and its end.
    pub start: Duration,
    /// One call.
    pub call: Duration,
}

/// Runs guests, some rounds of them, and takes the medians of what they cost.
///
/// # Errors
/// When one does not run.
pub fn measure(host: &Host) -> Result<Costs, ProbeError> {
    const ROUNDS: usize = 15;
    const CALLS: u32 = 500;
    let (idle, busy) = (image(0)?, image(CALLS)?);
    let mut starts = Vec::with_capacity(ROUNDS);
    let mut calls = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let idle = run(host, &idle)?;
        let busy = run(host, &busy)?;
        starts.push(idle.0 + idle.1);
        calls.push(busy.1.saturating_sub(idle.1) / CALLS);
    }
    Ok(Costs { start: median(starts), call: median(calls) })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Runs the probe once: the time to boot it and the time it ran.
fn run(host: &Host, image: &Arc<Image>) -> Result<(Duration, Duration), ProbeError> {
    let start = Instant::now();
    let config = Config { memory: 16 << 20, ..Config::default() };
    let mut instance = Instance::boot(host, image, &config)?;
    let booted = start.elapsed();
    let end = instance.run(&Console::standard(), &mut |_| {}, Some(Duration::from_secs(10)));
    match end {
        End::Exited(0) => Ok((booted, start.elapsed() - booted)),
        end => Err(ProbeError::End(Box::new(end))),
    }
}

/// The image of a guest that makes so many calls and ends.
fn image(calls: u32) -> Result<Arc<Image>, ProbeError> {
    // SAFETY: the name is a C string; the call gives a new descriptor or an error.
    let descriptor = unsafe { libc::memfd_create(c"coracle-probe".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(&elf(calls))?;
    Ok(Arc::new(Image::from_file(file, PathBuf::from("the probe"))?))
}

/// The file of a guest that makes so many calls.
fn elf(calls: u32) -> Vec<u8> {
    let start = &raw const coracle_probe_start;
    let length = (&raw const coracle_probe_end).addr() - start.addr();
    // SAFETY: both labels bound the bytes assembled above, which are read-only data.
    let fixed = unsafe { std::slice::from_raw_parts(start, length) };
    [fixed, &calls.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::image;

    #[test]
    fn the_probe_is_an_image() {
        let image = image(3).expect("an image");
        assert_eq!(image.pages().len(), 1);
    }
}
