//! Why a file is not taken as an image, in words for a person.

use super::looks::Looks;
use coracle_hypercall::version::AbiVersion;
use std::io;
use std::path::PathBuf;

/// Where a person reads how to make an image.
const README: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/README.md");

/// A file that is not taken as an image.
///
/// It shows as one whole sentence, so it has no `source` to be printed after it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {refusal}", path.display())]
pub struct ImageError {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The reason.
    pub refusal: Refusal,
}

/// A reason not to take a file. It shows as the rest of a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The file cannot be opened.
    #[error("cannot be opened ({cause}): check the path and that you may read the file")]
    Open {
        /// What the system said.
        cause: io::Error,
    },
    /// Reading failed, or the file was cut while it was read.
    #[error("cannot be read ({cause}): check the disk it is on, and that nothing changes it meanwhile")]
    Read {
        /// What the system said.
        cause: io::Error,
    },
    /// It is a directory, a device, a pipe or a socket.
    #[error("is {what} and not a file: give the program itself, such as target/release/NAME")]
    NotAFile {
        /// What it is, with its article.
        what: &'static str,
    },
    /// It does not begin as an ELF file does.
    #[error("is {looks} and not an ELF program: give what cargo built, such as target/release/NAME")]
    NotElf {
        /// What it begins like.
        looks: Looks,
    },
    /// Something that the file says it has lies beyond its end.
    #[error("is cut short: its {part} would end at byte {end} of a file of {length}: copy or build it again")]
    CutShort {
        /// What is missing, at least in part.
        part: &'static str,
        /// Where it would end.
        end: u64,
        /// The length of the file.
        length: u64,
    },
    /// It is for another kind of CPU.
    #[error(
        "is a program for {machine} CPUs and the machine here is an x86-64: build it with `--target \
         x86_64-unknown-linux-gnu`"
    )]
    ForeignMachine {
        /// The CPU's name.
        machine: String,
    },
    /// It is a 32-bit program.
    #[error("is a 32-bit program and a guest is 64-bit: build it with `--target x86_64-unknown-linux-gnu`")]
    ThirtyTwoBit,
    /// It says to be big-endian.
    #[error("says to be big-endian and x86-64 is little-endian: the file is damaged, build it again")]
    BigEndian,
    /// It is a relocatable object, a core dump or something else that is not to be run.
    #[error("is {what} and not a program: give what the linker made, such as target/release/NAME")]
    NotAProgram {
        /// What it is, with its article.
        what: &'static str,
    },
    /// It is a shared library.
    #[error("is a shared library, which has nowhere to start: give the program that uses it")]
    SharedLibrary,
    /// Its program headers have a size other than that of the format.
    #[error("has program headers of {size} bytes and the format's have 56: it is damaged, build it again")]
    ProgramHeaderSize {
        /// The size it gives.
        size: u16,
    },
    /// It has an unreasonable number of program headers.
    #[error("has {count} program headers and at most {most} are read: link it with fewer segments")]
    TooManyProgramHeaders {
        /// How many it says to have.
        count: u16,
        /// How many are taken.
        most: u16,
    },
    /// Nothing of it is to be loaded.
    #[error("has nothing to load into memory: it holds no program, build it again without a linker script")]
    NoSegments,
    /// It has no note that makes it an image.
    #[error(
        "is an ordinary Linux program and not a Coracle image: a Rust program becomes one with the \
         `coracle` crate as a dependency, `#![no_std]`, `#![no_main]`, `#[coracle::main]` above its `fn \
         main` and `panic = \"abort\"` in its profiles, as \"A program of your own\" in {readme} shows",
        readme = README
    )]
    OrdinaryProgram,
    /// It is linked with shared libraries.
    #[error(
        "needs the shared library {first} and a guest has none: drop the dependency that brings it in, or \
         link it statically"
    )]
    NeedsLibraries {
        /// The first that it names.
        first: String,
    },
    /// It was built for another major version of the contract.
    #[error(
        "is built for version {image} of the contract and this tender speaks {tender}: build it again with \
         the `coracle` crate of this tender's release"
    )]
    OtherContract {
        /// The image's version.
        image: AbiVersion,
        /// The tender's.
        tender: AbiVersion,
    },
    /// It was built for a newer version of the contract.
    #[error(
        "is built for version {image} of the contract and this tender is older and speaks {tender}: update \
         it to the release of the image's `coracle` crate"
    )]
    NewerContract {
        /// The image's version.
        image: AbiVersion,
        /// The tender's.
        tender: AbiVersion,
    },
    /// It is of a kind that this tender does not know.
    #[error(
        "is a program of a kind that this tender does not know ({number}): update it to the release of \
         Coracle that the image was built with"
    )]
    UnknownProgram {
        /// The number that the note names.
        number: u32,
    },
    /// It asks for permissions that this tender does not know.
    #[error(
        "asks for permissions that this tender does not know ({bits:#x}): update it to the release of \
         the image's `coracle` crate"
    )]
    UnknownPermissions {
        /// The unknown bits.
        bits: u32,
    },
    /// A note is not well-formed.
    #[error("has a malformed note ({reason}): it is damaged, build it again")]
    MalformedNote {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A segment has more bytes in the file than in memory.
    #[error(
        "has a segment at {address:#x} with more bytes in the file than in memory: it is damaged, build it \
         again"
    )]
    FileLargerThanMemory {
        /// Where the segment lies.
        address: u64,
    },
    /// The end of a segment is beyond what 64 bits can say.
    #[error(
        "has a segment at {address:#x} that reaches beyond the end of the address space: it is damaged, \
         build it again"
    )]
    SegmentOverflow {
        /// Where the segment begins.
        address: u64,
    },
    /// A segment's alignment is not a power of two, or beyond reason.
    #[error(
        "has a segment at {address:#x} aligned to {align:#x}, which is not a power of two up to 1 GiB: link \
         it with `-z max-page-size=4096`"
    )]
    Alignment {
        /// Where the segment lies.
        address: u64,
        /// The alignment that it asks for.
        align: u64,
    },
    /// A program with fixed addresses wants the first 64 KiB.
    #[error(
        "is linked to {address:#x} and the first 64 KiB stay unmapped to catch null pointers: link it \
         higher, or as a position-independent program"
    )]
    TooLow {
        /// The lowest address that it wants.
        address: u64,
    },
    /// A segment lies higher than a guest's memory can.
    #[error("has a segment that ends at {end:#x} and memory ends at 2^46: link it lower, near zero")]
    TooHigh {
        /// Where the segment ends.
        end: u64,
    },
    /// From the first to the last segment it is too far.
    #[error(
        "spreads over {span:#x} bytes and at most 1 TiB is taken: link its segments next to each other, or \
         take memory from the heap"
    )]
    SpanTooLarge {
        /// The bytes from its lowest to its highest page.
        span: u64,
    },
    /// A segment is writable and executable.
    #[error(
        "has a segment at {address:#x} that is both writable and executable: link it without `-N` and keep \
         data out of executable sections"
    )]
    WritableAndExecutable {
        /// Where the segment lies.
        address: u64,
    },
    /// Two segments overlap.
    #[error(
        "has segments at {first:#x} and {second:#x} that overlap: give their sections addresses of their \
         own in the linker script"
    )]
    Overlap {
        /// Where the lower segment begins.
        first: u64,
        /// Where the upper one begins.
        second: u64,
    },
    /// Segments of which one is writable and one executable lie on the same page.
    #[error(
        "has writable data and code on the same page ({page:#x}): link it with `-z separate-code`, or align \
         its segments to 4096"
    )]
    SharedPage {
        /// The page.
        page: u64,
    },
    /// It wants to execute its stack.
    #[error(
        "asks for an executable stack: link it with `-z noexecstack` and put `.section \
         .note.GNU-stack,\"\",@progbits` into its assembly files"
    )]
    ExecutableStack,
    /// It starts where nothing may be executed.
    #[error(
        "starts at {entry:#x}, which is not in an executable segment: link it with `-e _start`, or with the \
         C compiler as the linker"
    )]
    EntryNotExecutable {
        /// Where it starts.
        entry: u64,
    },
    /// The table for the dynamic linker is not well-formed.
    #[error("has a malformed dynamic section ({reason}): it is damaged, build it again")]
    MalformedDynamic {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A table that the dynamic section points to is not among what is loaded from the file.
    #[error(
        "has its {table} at {address:#x}, which is not loaded from the file: it is damaged, build it again"
    )]
    TableNotLoaded {
        /// The table.
        table: &'static str,
        /// Where it would be.
        address: u64,
    },
    /// It has an unreasonable number of relocations.
    #[error(
        "has more than {most} relocations{kind}, too many to start in reasonable time: link it with fixed \
         addresses"
    )]
    TooManyRelocations {
        /// Nothing, or the kind of them, after a space.
        kind: &'static str,
        /// How many are taken.
        most: u64,
    },
    /// A relocation is of a type that the tender does not apply.
    #[error(
        "has a relocation of type {number} ({name}) at {address:#x}, which a tender does not apply: link it \
         statically with `-C relocation-model=pie`, without indirect functions"
    )]
    UnknownRelocation {
        /// The type's number.
        number: u32,
        /// The type's name.
        name: String,
        /// What it would change.
        address: u64,
    },
    /// A relocation changes what is not writable memory of the image.
    #[error(
        "has a relocation for {address:#x}, which is not in a writable segment: compile all of it as \
         position-independent code (`-C relocation-model=pie`, `-fPIE`)"
    )]
    RelocationTarget {
        /// What it would change.
        address: u64,
    },
    /// It refers to something that it does not contain.
    #[error("uses the symbol {name} and does not contain it: link in the library that has it, statically")]
    UndefinedSymbol {
        /// The symbol.
        name: String,
    },
    /// A relocation refers to a symbol of a kind that only a dynamic linker can resolve.
    #[error(
        "has a relocation with the {kind} {name}, which only a dynamic linker can resolve: link it \
         statically, without indirect functions"
    )]
    DynamicSymbol {
        /// The kind of symbol.
        kind: &'static str,
        /// The symbol.
        name: String,
    },
    /// The template of thread-local storage is not among what is loaded.
    #[error(
        "has its thread-local data at {address:#x}, which is not in a loaded segment: keep .tdata in a \
         PT_LOAD segment of the linker script"
    )]
    TlsNotLoaded {
        /// Where the template would be.
        address: u64,
    },
    /// Thread-local storage wants an alignment that is not taken.
    #[error(
        "wants thread-local data aligned to {align:#x}, which is not a power of two up to 4096: lower the \
         alignment of its thread-locals"
    )]
    TlsAlignment {
        /// The alignment that it asks for.
        align: u64,
    },
    /// Thread-local storage is smaller than its template, or beyond reason.
    #[error(
        "wants {size:#x} bytes of thread-local data for a template of {file_size:#x}, which is not between \
         that and 1 GiB: make its thread-locals smaller"
    )]
    TlsSize {
        /// The bytes that it asks for.
        size: u64,
        /// The bytes of the template.
        file_size: u64,
    },
    /// The guest's memory did not take the image.
    #[error("cannot be put into the guest's memory ({cause}): give the guest more with `--mem`")]
    Memory {
        /// What the memory said.
        cause: io::Error,
    },
    /// A program with fixed addresses was to be moved.
    #[error("is linked to fixed addresses and cannot be moved by {bias:#x}: load it with a bias of zero")]
    Fixed {
        /// By how much it was to be moved.
        bias: u64,
    },
}
