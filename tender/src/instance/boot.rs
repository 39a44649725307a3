//! Fills memory and makes the machine.

use super::arguments::{self, ArgumentError};
use super::reset::Cleaner;
use super::{Instance, Origin, Statistics};
use crate::calls::{self, AtReady, Clock, Edited, Events, Failures, State};
use crate::cpu::{descriptors, entry, stub};
use crate::image::{Image, ImageError, Kind, LoadTarget};
use crate::layout::{
    BOOT, CLOCK_OFFSET, ENTRY, Extent, FAULT_STACK, LayoutError, PAGE_TABLES, Physical, Placement, Places,
    STUB, TABLES,
};
use crate::machine::{AnyMachine, Host, MachineError, Start, Tables};
use crate::memory::{Advice, Memory, MemoryError, OutOfMemory};
use crate::paging::{BuildError, Builder, Mapping, Pool};
use coracle_hypercall::boot::BootInfo;
use coracle_hypercall::memory::{GuestAddress, GuestSlice, LARGE_PAGE, PAGE, Rights};
use coracle_hypercall::version;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use zerocopy::{FromZeros, IntoBytes};

/// How an instance is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its memory in bytes, rounded down to 2 MiB: image, stack and heap, and what the tender needs
    /// for them.
    pub memory: u64,
    /// Its arguments, the name of the program first.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether places are random.
    pub placement: Placement,
    /// Whether exits are counted and timed.
    pub statistics: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory: 64 << 20,
            arguments: Vec::new(),
            environment: Vec::new(),
            placement: Placement::Random,
            statistics: false,
        }
    }
}

/// Why an instance could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant shows the error of one step, which says it all")]
pub enum BootError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    #[error("cannot draw random numbers: {0}")]
    Random(io::Error),
    #[error("cannot build the guest's page tables: {0}")]
    Paging(#[from] BuildError),
    #[error("cannot fill the guest's memory: {0}")]
    Fill(#[from] OutOfMemory),
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// The bytes of boot page, entry page, and the page tables that a small guest has.
const FIRST_TABLES: u64 = PAGE_TABLES - BOOT + 12 * PAGE;

/// How much of an image is backed before it is loaded. Most of a larger one may never be touched.
const SMALL_IMAGE: u64 = 256 << 10;

impl Instance {
    /// Makes a VM that is ready to run the image's first instruction.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot(host: &Host, image: &Arc<Image>, config: &Config) -> Result<Instance, BootError> {
        let span = image.span();
        if config.memory > host.most_memory() {
            return Err(LayoutError::TooMuch { given: config.memory, most: host.most_memory() }.into());
        }
        let physical = Physical::divide(config.memory, span.length)?;
        if let Some(tls) = image.tls() {
            physical.check_thread_local(tls.size.saturating_add(tls.align))?;
        }
        let mut random = Random::draw().map_err(BootError::Random)?;
        let fixed = image.kind() == Kind::Fixed;
        let places =
            Places::choose(&physical, span, image.align(), fixed, config.placement, &mut || random.next());
        let memory = host.memory(physical.size)?;
        // The first large page of the heap is left to small pages: most programs need little of it.
        if let Some(rest) = physical.heap.length.checked_sub(LARGE_PAGE).filter(|rest| *rest > 0) {
            memory.advise(physical.heap.start + LARGE_PAGE, rest, Advice::HugePages);
        }
        // What every start touches is backed in two steps, not fault by fault.
        memory.advise(BOOT, FIRST_TABLES, Advice::BackNow);
        memory.advise(physical.image.start, physical.image.length.min(SMALL_IMAGE), Advice::BackNow);
        image.load(&mut Loader { memory: &memory, image: physical.image }, places.bias)?;
        descriptors::write(&memory, places.system.start)?;
        stub::write(&memory)?;
        entry::write(&memory, host.features())?;
        let tables = map(&memory, image, &physical, &places)?;
        let stack = arguments::write(&memory, image, &physical, &places, config, &random.bytes())?;
        memory.write(BOOT, boot_info(image, &places, &random).as_bytes())?;
        let start = Start {
            entry: image.entry().wrapping_add(places.bias),
            stack,
            tables: Tables { root: PAGE_TABLES, system: places.system.start, entry_page: places.entry() },
        };
        let machine = AnyMachine::new(host, memory, &start)?;
        let state = State {
            clock: Clock::since(Instant::now(), host.features().invariant_tsc),
            events: Events::new(),
            pool: Pool { next: tables, end: physical.page_tables().end(), used: false },
            permissions: image.permissions(),
            failures: Failures::default(),
            at_ready: AtReady::GoOn,
            random: calls::Random::default(),
            reply: Vec::new(),
            edited: Edited::default(),
        };
        let statistics = config.statistics.then(Statistics::default);
        Ok(Instance {
            origin: Origin::Image(Arc::clone(image)),
            machine,
            physical,
            places,
            tables: start.tables,
            state,
            statistics,
            end: None,
            waits_in_call: false,
            cleaner: Cleaner::default(),
        })
    }
}

/// Builds the page tables and answers the first guest-physical address that they leave free.
fn map(memory: &Memory, image: &Image, physical: &Physical, places: &Places) -> Result<u64, BuildError> {
    let room = physical.page_tables();
    let mut builder = Builder::new(memory, room.start, room.end())?;
    let system = |from: u64, to: u64, rights| Mapping {
        address: places.system.start + from,
        physical: from,
        length: to - from,
        rights,
        user: false,
    };
    builder.map(system(TABLES, STUB, Rights::READ))?;
    builder.map(system(STUB, FAULT_STACK, Rights::READ | Rights::EXECUTE))?;
    builder.map(system(FAULT_STACK, BOOT, Rights::READ | Rights::WRITE))?;
    builder.map(system(PAGE_TABLES, physical.system_end, Rights::READ | Rights::WRITE))?;

    let user = |address, physical, length, rights| Mapping { address, physical, length, rights, user: true };
    builder.map(user(places.boot, BOOT, PAGE, Rights::READ))?;
    builder.map(user(places.entry(), ENTRY, PAGE, Rights::READ | Rights::EXECUTE))?;
    for run in image.pages() {
        let offset = run.start - image.span().start;
        let address = places.image.start + offset;
        builder.map(user(address, physical.image.start + offset, run.length, run.rights))?;
    }
    for (place, at) in [(places.stack, physical.stack), (places.heap, physical.heap)] {
        builder.map(user(place.start, at.start, at.length, Rights::READ | Rights::WRITE))?;
    }
    Ok(builder.next_free())
}

fn boot_info(image: &Image, places: &Places, random: &Random) -> BootInfo {
    let slice = |extent: Extent| GuestSlice::new(extent.start, extent.length);
    let mut info = BootInfo {
        abi: version::CURRENT,
        size: size_of::<BootInfo>() as u32,
        entry: GuestAddress(places.entry()),
        clock: GuestAddress(places.boot + CLOCK_OFFSET),
        vcpus: 1,
        image: slice(places.image),
        stack: slice(places.stack),
        heap: slice(places.heap),
        seed: random.seed(),
        ..BootInfo::new_zeroed()
    };
    if let Some(tls) = image.tls() {
        info.tls_image = GuestSlice::new(tls.address.wrapping_add(places.bias), tls.file_size);
        info.tls_size = tls.size;
        info.tls_align = tls.align;
    }
    info
}

/// Random bytes of the host: drawn once for places, seeds and canaries.
struct Random {
    words: [u64; RANDOM_WORDS],
    used: usize,
}

/// Words that places take at most, then four for the seed and two for `AT_RANDOM`.
const PLACE_WORDS: usize = 16;
const RANDOM_WORDS: usize = PLACE_WORDS + 4 + 2;

impl Random {
    fn draw() -> io::Result<Random> {
        let mut words = [0_u64; RANDOM_WORDS];
        let bytes = words.as_mut_bytes();
        // SAFETY: the buffer is a local of that many bytes. So few are never drawn in part.
        let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if drawn != bytes.len() as isize {
            return Err(io::Error::last_os_error());
        }
        Ok(Random { words, used: 0 })
    }

    /// The next word for a place.
    fn next(&mut self) -> u64 {
        let word = self.words.get(self.used % PLACE_WORDS).copied().unwrap_or_default();
        self.used += 1;
        word
    }

    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let [.., a, b, c, d, _, _] = self.words;
        for (bytes, word) in seed.chunks_exact_mut(8).zip([a, b, c, d]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        seed
    }

    fn bytes(&self) -> [u8; 16] {
        let [.., a, b] = self.words;
        (u128::from(a) << 64 | u128::from(b)).to_le_bytes()
    }
}

/// Guest memory as the image's loader sees it.
struct Loader<'a> {
    memory: &'a Memory,
    image: Extent,
}

impl Loader<'_> {
    fn at(&self, offset: u64, length: u64) -> io::Result<u64> {
        let end = offset.checked_add(length).filter(|end| *end <= self.image.length);
        end.map(|_| self.image.start + offset).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl LoadTarget for Loader<'_> {
    fn read_file(&mut self, offset: u64, length: u64, file: &File, file_offset: u64) -> io::Result<()> {
        self.memory.fill_from(self.at(offset, length)?, length, file, file_offset)
    }

    fn read_u64(&self, offset: u64) -> io::Result<u64> {
        self.memory.read_u64(self.at(offset, 8)?).map_err(io::Error::other)
    }

    fn write_u64(&mut self, offset: u64, value: u64) -> io::Result<()> {
        self.memory.write_u64(self.at(offset, 8)?, value).map_err(io::Error::other)
    }
}
