//! Crash reports: what happened to a stopped guest, in words, with a backtrace.
//!
//! Everything is done on the host, from the stopped guest's registers and memory and from the
//! image's file. Guest, image and symbol file are hostile: reading, unwinding and naming are bounded
//! in memory, in frames and in time (`budget`); what is damaged shortens a report and nothing else.
//!
//! | module | its one idea |
//! |---|---|
//! | `cause` | what happened, in one sentence, and the exit status for it |
//! | `place` | what lies at or next to an address |
//! | `encoding` | instructions taken apart into opcode and operands |
//! | `instruction` | what the few instructions that a report names do |
//! | `elf` | the image's file: sections read one by one, never mapped |
//! | `tables` | `.eh_frame`: the rules that lead from a frame to its caller |
//! | `expression` | rules that are small programs |
//! | `unwind` | from frame to frame, with everything that may end that |
//! | `fold` | a long trace made short: repetitions and the middle left out |
//! | `names` | functions, files and lines for addresses, from the sources at hand |
//! | `panicking` | which frames of a panic say nothing about the program |
//! | `debuginfo`, `lines`, `symbols` | the sources: DWARF functions, DWARF lines, ELF symbols |
//! | `text` | how it is all printed |

mod budget;
mod cause;
mod debuginfo;
mod elf;
mod encoding;
mod expression;
mod fold;
mod instruction;
mod lines;
mod names;
mod panicking;
mod place;
mod symbols;
mod tables;
mod text;
mod unwind;

use crate::layout::Places;
use crate::registers::Registers;
use budget::Budget;
use coracle_hypercall::memory::Rights;
use serde::Serialize;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How long one report may take. A large image takes a few tenths of a second; only an image that
/// was made to be slow reaches this, and its report is cut short.
const TIME: Duration = Duration::from_secs(5);

/// A fault that the CPU delivered.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The exception's number.
    pub vector: u8,
    /// Its error code, 0 where it has none.
    pub error_code: u64,
    /// The address that could not be accessed (CR2); means something for page faults only.
    pub address: u64,
    /// The guest's registers as the exception found them.
    pub registers: Registers,
}

/// Why the guest ended.
#[derive(Debug, Clone)]
pub enum Cause<'a> {
    /// The CPU could not go on.
    Fault(&'a Fault),
    /// The guest used a port that is not the tender's.
    Port {
        /// The port.
        port: u16,
        /// How many bytes it moved: 1, 2 or 4.
        width: u8,
        /// Whether it was an `out`.
        write: bool,
        /// The guest's registers, RIP at or after the instruction.
        registers: Registers,
    },
    /// The guest reported a panic.
    Panic {
        /// What it said.
        message: String,
        /// The source file; empty when unknown.
        file: String,
        /// The line in that file, from 1.
        line: u32,
        /// The column in that line, from 1.
        column: u32,
        /// The guest's registers, RIP in the entry page.
        registers: Registers,
    },
}

/// The stopped guest's memory, by guest-virtual addresses.
pub trait GuestMemory {
    /// Fills `buffer` from `address`. Answers false, whatever the buffer holds then, unless the
    /// guest itself could read every byte.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;

    /// What the guest may do at `address`; `None` where nothing is mapped for CPL 3.
    fn rights(&self, address: u64) -> Option<Rights>;
}

/// Where it happened.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The image's path, for messages.
    pub image_path: &'a Path,
    /// The image's file. It is read by position; its file offset stays.
    pub image_file: &'a File,
    /// The unstripped twin of the image, to take names from.
    pub symbols: Option<&'a Path>,
    /// The image's GNU build id. `None`: it is looked for in the file.
    pub build_id: Option<&'a [u8]>,
    /// Where everything lies in the guest.
    pub places: &'a Places,
    /// The guest's memory.
    pub memory: &'a dyn GuestMemory,
}

/// What happened, ready to be printed ([`Display`](std::fmt::Display)) or serialised.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    headline: String,
    status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    trace: Vec<Line>,
    /// How many of these, from the first on, are a panic's own. They are serialised and not printed.
    panic_lines: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registers: Option<Vec<(&'static str, Hex)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    notes: Vec<String>,
}

/// One entry of a trace.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Line {
    /// A frame, which stands for several functions where some were inlined.
    Frame {
        number: usize,
        address: Hex,
        /// What stands in for a function's name where there is none: a place and an offset.
        place: String,
        /// Innermost first.
        functions: Vec<Function>,
    },
    /// So many frames just above this line come so many times more.
    Repeated { frames: usize, times: usize },
    /// So many frames are left out.
    LeftOut { frames: usize },
}

/// A function that a frame is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Function {
    name: String,
    /// How far into the function, where no line says it better.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

/// A place in a source file. Line and column are 0 when unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Location {
    file: String,
    line: u64,
    column: u64,
}

/// A 64-bit value that is serialised as text, for JSON's numbers end at 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl Report {
    /// What happened, in one line: of a panic's message the first.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.message.as_deref().and_then(|message| message.lines().next()) {
            Some(line) => format!("{} {line}", self.headline),
            None => self.headline.clone(),
        }
    }

    /// The exit status for it, see `coracle_hypercall::exit`.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }
}

/// Finds out what happened.
#[must_use]
pub fn describe(cause: Cause<'_>, scene: Scene<'_>) -> Report {
    let mut budget = Budget::new(TIME);
    let finding = cause::explain(&cause, &scene);
    let mut notes = Vec::new();
    let image = match elf::ElfFile::open(scene.image_file) {
        Ok(image) => Some(image),
        Err(error) => {
            notes.push(format!("no unwind tables or names from {}: {error}", scene.image_path.display()));
            None
        }
    };
    let own_id = image.as_ref().filter(|_| scene.build_id.is_none()).and_then(elf::ElfFile::build_id);
    let scene = Scene { build_id: scene.build_id.or(own_id.as_deref()), ..scene };
    let trace = unwind::walk(&finding.start, &scene, image.as_ref(), &mut budget);
    let folded = fold::fold(frames_to_show(&cause, &trace.frames, &scene));
    let mut names = names::find(&folded, &scene, image.as_ref(), &mut budget);
    notes.append(&mut names.notes);
    if budget.is_exhausted() {
        notes.push("looking for frames and names took too long and was cut short".to_owned());
    }
    let registers = match &cause {
        Cause::Fault(fault) => {
            Some(dump(&fault.registers, (fault.vector == cause::PAGE_FAULT).then_some(fault.address)))
        }
        Cause::Port { registers, .. } => Some(dump(registers, None)),
        Cause::Panic { .. } => None,
    };
    let panic_lines =
        if matches!(cause, Cause::Panic { .. }) { panicking::own_lines(&names.lines) } else { 0 };
    Report {
        headline: finding.headline,
        status: finding.status,
        message: finding.message,
        trace: names.lines,
        panic_lines,
        trace_end: trace.end.words(&scene),
        registers,
        build_id: scene.build_id.map(text::hex),
        notes,
    }
}

/// All frames, but for the entry page's when the guest came to report a panic: that one says nothing.
fn frames_to_show<'a>(
    cause: &Cause<'_>,
    frames: &'a [unwind::Frame],
    scene: &Scene<'_>,
) -> &'a [unwind::Frame] {
    match (cause, frames.split_first()) {
        (Cause::Panic { .. }, Some((first, callers)))
            if place::locate(first.lookup, scene) == place::Place::Entry =>
        {
            callers
        }
        _ => frames,
    }
}

fn dump(r: &Registers, fault_address: Option<u64>) -> Vec<(&'static str, Hex)> {
    let mut all = vec![
        ("rax", Hex(r.rax)),
        ("rbx", Hex(r.rbx)),
        ("rcx", Hex(r.rcx)),
        ("rdx", Hex(r.rdx)),
        ("rsi", Hex(r.rsi)),
        ("rdi", Hex(r.rdi)),
        ("rbp", Hex(r.rbp)),
        ("rsp", Hex(r.rsp)),
        ("r8", Hex(r.r8)),
        ("r9", Hex(r.r9)),
        ("r10", Hex(r.r10)),
        ("r11", Hex(r.r11)),
        ("r12", Hex(r.r12)),
        ("r13", Hex(r.r13)),
        ("r14", Hex(r.r14)),
        ("r15", Hex(r.r15)),
        ("rip", Hex(r.rip)),
        ("flags", Hex(r.rflags)),
    ];
    all.extend(fault_address.map(|address| ("cr2", Hex(address))));
    all
}

#[cfg(test)]
mod tests;
