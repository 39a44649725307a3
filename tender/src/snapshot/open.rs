//! Finds a snapshot in a file and checks what it says of itself. The file is hostile: see
//! THREAT-MODEL.md for what remains of that afterwards.

use super::base::Base;
use super::format::{
    BACKEND_KVM, BACKEND_PROCESS, Cpuid, Header, LONGEST_NAME, MAGIC, MOST_CPUID, MOST_RUNS, READY, Range,
    Run, VERSION,
};
use super::write::Head;
use super::{Refusal, Snapshot};
use crate::calls::Awaited;
use crate::cpu::saved::{Saved, Segments};
use crate::cpu::{descriptors, features, stub};
use crate::image::Image;
use crate::layout::{
    BOOT, EDIT_LIST, ENTRY, Extent, FAULT_STACK, PAGE_TABLES, Physical, Places, TABLES, TARGET_OFFSET,
};
use crate::machine::{Host, Tables};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::{Part, each_part, entry_span};
use crate::registers::Registers;
use crate::runnable::open_file;
use crate::text::escape;
use coracle_hypercall::error::CallError;
use coracle_hypercall::event::EventSources;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE, Rights};
use coracle_hypercall::note::{Permissions, Program};
use coracle_hypercall::version;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Opens the snapshot in a file. `sealed` says that nobody can change or cut it.
pub(super) fn open(
    host: &Arc<Host>,
    file: File,
    sealed: bool,
    image: Option<&Arc<Image>>,
) -> Result<Snapshot, Refusal> {
    let head = read_head(&file)?;
    let header = &head.header;
    if header.abi.major != version::CURRENT.major || header.abi.minor > version::CURRENT.minor {
        return Err(Refusal::Contract(header.abi));
    }
    match (header.backend, &**host) {
        (BACKEND_KVM, _) | (BACKEND_PROCESS, Host::Process(_)) => {}
        (BACKEND_PROCESS, Host::Kvm(_)) => return Err(Refusal::SeenTheCpu),
        (other, _) => return Err(Refusal::Backend(other)),
    }
    check_cpu(host, &head)?;
    if header.memory > host.most_memory() {
        return Err(Refusal::Memory(header.memory));
    }
    let (physical, places) = place(header)?;
    let tables = Tables { root: PAGE_TABLES, system: places.system.start, entry_page: places.entry() };
    let room = physical.page_tables();
    if !header.next_table.is_multiple_of(PAGE)
        || header.next_table <= room.start
        || header.next_table > room.end()
    {
        return Err(malformed("its page tables lie elsewhere"));
    }
    let permissions = Permissions::from_bits(header.permissions).ok_or(malformed("unknown permissions"))?;
    let program = Program::from_number(header.program).ok_or(malformed("an unknown kind of program"))?;
    let subscribed = EventSources::from_bits(header.subscribed).ok_or(malformed("unknown events"))?;
    let saved = Saved {
        registers: Registers::from_array(header.registers),
        segments: Segments { selectors: header.selectors, fs_base: header.fs_base, gs_base: header.gs_base },
    };
    if !saved.segments.is_sound() || saved.registers.rip >> 47 != 0 {
        return Err(malformed("registers that no program can have"));
    }
    let ready = header.flags & READY != 0;
    if header.flags & !READY != 0 || header.reserved != 0 || !ready && header.invocation != 0 {
        return Err(malformed("fields that should be zero"));
    }
    let past = Instant::now().checked_sub(Duration::from_nanos(header.monotonic_ns));
    let end = head.runs.last().map_or(0, |run| (run.first + run.count) * PAGE);
    let base = Base::new(file.try_clone()?, sealed, header.data_offset, header.memory, end)?;
    if base.read_u64(BOOT + TARGET_OFFSET)? != saved.registers.rip {
        return Err(malformed("a way back that leads elsewhere"));
    }
    check_system(&base, &places)?;
    check_tables(&base, header.next_table, &physical, &places, permissions)?;
    // What calls change in the tables is of no consequence to where they find their input.
    let read = |physical, bytes: &mut [u8]| base.read(physical, bytes).map_err(|_| CallError::BadAddress);
    let invocation = ready.then(|| Awaited::find(&&base, tables.root, header.invocation, read)).transpose();
    let invocation =
        invocation.map_err(|_| malformed("no room for the input where the guest waits for it"))?;
    Ok(Snapshot {
        host: Arc::clone(host),
        base,
        saved,
        physical,
        places,
        tables,
        next_table: header.next_table,
        program,
        permissions,
        invocation,
        subscribed,
        clock_start: past.ok_or(malformed("its clock is further than this machine's can be"))?,
        hot: OnceLock::new(),
        name: name(&head),
        image: image.map_or_else(OnceLock::new, |image| OnceLock::from(Some(Arc::clone(image)))),
        head,
        file,
    })
}

/// The image's path, safe to print: the file may say anything.
pub(super) fn name(head: &Head) -> PathBuf {
    escape(&String::from_utf8_lossy(&head.name)).into()
}

/// Checks all bytes of a file.
pub(super) fn verify(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), Refusal> {
    let file = open_file(path)?;
    let head = read_head(&file)?;
    let header = &head.header;
    let mut parts: Vec<(u64, u64)> = head
        .runs
        .iter()
        .map(|run| (header.data_offset + run.first * PAGE, run.count * PAGE))
        .chain([(header.image_offset, header.image_length)])
        .collect();
    let total = parts.iter().map(|(_, length)| length).sum();
    let (mut done, mut end) = (0, header.data_offset);
    let mut digest = Sha256::new();
    let mut bytes = vec![0; 1 << 20];
    for (mut at, mut left) in parts.drain(..) {
        check_zero(&file, end, at)?;
        while left > 0 {
            let length = left.min(bytes.len() as u64);
            let part = bytes.get_mut(..length as usize).unwrap_or_default();
            file.read_exact_at(part, at)?;
            digest.update(&*part);
            (at, left, done) = (at + length, left - length, done + length);
            progress(done, total);
        }
        end = at;
    }
    let digest: [u8; 32] = digest.finalize().into();
    if digest == head.header.body_digest { Ok(()) } else { Err(Refusal::Body) }
}

/// Nothing but zeros lies between two places of a file. Holes are passed over.
fn check_zero(file: &File, mut at: u64, end: u64) -> Result<(), Refusal> {
    let mut bytes = vec![0; 1 << 16];
    while at < end {
        let from = libc::off_t::try_from(at).map_err(io::Error::other)?;
        // SAFETY: the call takes numbers alone.
        let data = unsafe { libc::lseek(file.as_raw_fd(), from, libc::SEEK_DATA) };
        // Where the file system knows no holes, all is data. Where there is no more data, nothing is left.
        at = match u64::try_from(data) {
            Ok(data) => data,
            Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            Err(_) => at,
        };
        let length = end.saturating_sub(at).min(bytes.len() as u64);
        let part = bytes.get_mut(..length as usize).unwrap_or_default();
        file.read_exact_at(part, at)?;
        if part.iter().any(|byte| *byte != 0) {
            return Err(Refusal::Body);
        }
        at += length;
    }
    Ok(())
}

fn malformed(what: &'static str) -> Refusal {
    Refusal::Malformed(what)
}

/// Reads all before the pages, and checks lengths and digest.
pub(super) fn read_head(file: &File) -> Result<Head, Refusal> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Refusal::NotASnapshot);
    }
    let actual = metadata.len();
    let mut header = Header::new_zeroed();
    let length = Header::LENGTH.min(actual) as usize;
    let start = header.as_mut_bytes().get_mut(..length).unwrap_or_default();
    file.read_exact_at(start, 0)?;
    if header.magic != MAGIC {
        return Err(Refusal::NotASnapshot);
    }
    if length as u64 != Header::LENGTH {
        return Err(Refusal::Length { expected: Header::LENGTH, actual });
    }
    if header.version != VERSION {
        return Err(Refusal::Version(header.version));
    }
    if header.cpuid_count > MOST_CPUID || header.run_count > MOST_RUNS || header.name_length > LONGEST_NAME {
        return Err(malformed("its tables are too long"));
    }
    let cpuid_length = header.cpuid_count as usize * size_of::<Cpuid>();
    let runs_length = header.run_count as usize * size_of::<Run>();
    let tables = cpuid_length + runs_length + header.name_length as usize;
    let data_offset = (Header::LENGTH + tables as u64).next_multiple_of(PAGE);
    let image_offset = header.memory.checked_add(data_offset);
    if header.data_offset != data_offset || Some(header.image_offset) != image_offset {
        return Err(malformed("its parts lie elsewhere than they should"));
    }
    let expected = header.image_offset.checked_add(header.image_length);
    let expected = expected.ok_or(malformed("its image is too long"))?;
    if expected != actual {
        return Err(Refusal::Length { expected, actual });
    }
    let mut bytes = vec![0; data_offset as usize];
    file.read_exact_at(&mut bytes, 0)?;
    check_digest(&mut bytes, &header)?;
    parse(&bytes, header, [cpuid_length, runs_length])
}

/// Checks the digest of the head, which is not a part of itself.
fn check_digest(bytes: &mut [u8], header: &Header) -> Result<(), Refusal> {
    let at = offset_of!(Header, head_digest);
    if let Some(own) = bytes.get_mut(at..at + header.head_digest.len()) {
        own.fill(0);
    }
    let digest: [u8; 32] = Sha256::digest(&*bytes).into();
    if digest == header.head_digest { Ok(()) } else { Err(Refusal::Head) }
}

fn parse(bytes: &[u8], header: Header, [cpuid, runs]: [usize; 2]) -> Result<Head, Refusal> {
    let short = || malformed("its tables are too short");
    let rest = bytes.get(size_of::<Header>()..).ok_or_else(short)?;
    let (cpuid, rest) = rest.split_at_checked(cpuid).ok_or_else(short)?;
    let (runs, rest) = rest.split_at_checked(runs).ok_or_else(short)?;
    let name = rest.get(..header.name_length as usize).ok_or_else(short)?;
    let items = |_| malformed("its tables are too short");
    let head = Head {
        header,
        cpuid: table(cpuid).map_err(items)?,
        runs: table(runs).map_err(items)?,
        name: name.to_vec(),
    };
    check_runs(&head)?;
    Ok(head)
}

/// Copies a table out of bytes, whatever their alignment.
fn table<T: FromBytes>(bytes: &[u8]) -> Result<Vec<T>, ()> {
    bytes.chunks(size_of::<T>().max(1)).map(|item| T::read_from_bytes(item).map_err(|_| ())).collect()
}

/// Runs ascend within the memory and are as many pages as the header says.
fn check_runs(head: &Head) -> Result<(), Refusal> {
    let pages = head.header.memory / PAGE;
    let (mut end, mut count) = (0_u64, 0_u64);
    for run in &head.runs {
        let after = run.first.checked_add(run.count).filter(|after| *after <= pages);
        let after = after.ok_or(malformed("pages beyond its memory"))?;
        if run.count == 0 || run.first < end {
            return Err(malformed("pages that are not in order"));
        }
        (end, count) = (after, count + run.count);
    }
    if count == head.header.page_count { Ok(()) } else { Err(malformed("more or fewer pages than it names")) }
}

/// Every feature that the guest has seen must be here, and the state of the vector units laid out alike.
fn check_cpu(host: &Host, head: &Head) -> Result<(), Refusal> {
    let here = host.cpuid_entries();
    for wanted in &head.cpuid {
        let found = here.iter().find(|entry| entry.leaf == wanted.leaf && entry.subleaf == wanted.subleaf);
        let same = found.is_some_and(|found| {
            let features = matches!(wanted.leaf, 1 | 7 | 0x8000_0001);
            found.values == wanted.values || features && has_all(found, wanted)
        });
        if !same && matters(wanted.leaf) {
            return Err(Refusal::Cpu(difference(found, wanted)));
        }
    }
    if head.header.xcr0 != host.features().xcr0 {
        let (there, here) = (head.header.xcr0, host.features().xcr0);
        return Err(Refusal::Cpu(format!("vector state {there:#x}, and this one has {here:#x}")));
    }
    Ok(())
}

/// Leaves whose values tell what a program may do: not the vendor's name and model, nor sizes of caches
/// and addresses.
fn matters(leaf: u32) -> bool {
    matches!(leaf, 1 | 7 | 0xd | 0x8000_0001)
}

/// Whether `found` has every feature bit of `wanted`. Of leaf 1, eax and ebx are no features.
fn has_all(found: &Cpuid, wanted: &Cpuid) -> bool {
    let first = if wanted.leaf == 1 { 2 } else { 0 };
    let pairs = found.values.iter().zip(&wanted.values).skip(first);
    pairs.into_iter().all(|(found, wanted)| wanted & !found == 0)
}

/// What a CPU lacks, in words.
fn difference(found: Option<&Cpuid>, wanted: &Cpuid) -> String {
    let mut missing = *wanted;
    for (value, here) in missing.values.iter_mut().zip(found.map(|found| found.values).unwrap_or_default()) {
        *value &= !here;
    }
    let missing = features::of(&missing);
    if missing.is_empty() {
        format!("another layout of its state (CPUID leaf {:#x})", wanted.leaf)
    } else {
        format!("features that this one lacks ({})", missing.join(", "))
    }
}

/// Memory is divided as the tender divides it, and places lie where it might have put them.
fn place(header: &Header) -> Result<(Physical, Places), Refusal> {
    if header.memory == 0
        || !header.memory.is_multiple_of(LARGE_PAGE)
        || header.image_pages == 0
        || header.image_pages > header.memory
        || !header.image_pages.is_multiple_of(PAGE)
    {
        return Err(malformed("its memory is not whole pages"));
    }
    let physical = Physical::divide(header.memory, header.image_pages)
        .map_err(|_| malformed("its memory does not hold its image"))?;
    let lengths = [physical.image.length, physical.stack.length, physical.heap.length, physical.system_end];
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for (range, length) in header.places.iter().zip(lengths) {
        let Range { start, .. } = *range;
        let end = start.checked_add(length).filter(|end| *end < 1 << 47 && range.length == length);
        let end = end.filter(|_| start.is_multiple_of(PAGE) && start >= 2 * PAGE);
        taken.push((start, end.ok_or(malformed("places that no instance has"))?));
    }
    taken.sort_unstable();
    if taken.is_sorted_by(|a, b| a.1 <= b.0) {
        let extent = |range: Range| Extent { start: range.start, length: range.length };
        let [image, stack, heap, system] = header.places.map(extent);
        if header.boot.checked_add(2 * PAGE) != Some(image.start) || header.stack_skip >= PAGE {
            return Err(malformed("places that no instance has"));
        }
        let (boot, bias, stack_skip) = (header.boot, header.bias, header.stack_skip);
        return Ok((physical, Places { boot, bias, image, stack, heap, system, stack_skip }));
    }
    Err(malformed("places that overlap"))
}

/// What runs at CPL 0, and what the CPU finds it by, is what the tender would have written.
fn check_system(base: &Base, places: &Places) -> Result<(), Refusal> {
    let unsound = |_| malformed("no room for its tables");
    let own = Memory::new(LARGE_PAGE).map_err(|error| Refusal::Read(io::Error::other(error)))?;
    descriptors::write(&own, places.system.start).map_err(unsound)?;
    stub::write(&own).map_err(unsound)?;
    for at in (TABLES..FAULT_STACK).step_by(8) {
        if base.read_u64(at)? != own.read_u64(at).map_err(unsound)? {
            return Err(malformed("code at CPL 0 or descriptors that are not the tender's"));
        }
    }
    if base.read_u64(EDIT_LIST)? != 0 {
        return Err(malformed("changes of page tables that wait to be made"));
    }
    Ok(())
}

/// The guest gets at nothing that the tender would not have given it: every page is the one that belongs
/// there, the system place is not the guest's, and nothing is writable and executable. What it is given later
/// comes from no table that is in use.
///
/// Each table is read once and has an entry. So what a forged file costs depends on its length, not on the
/// memory that it names.
fn check_tables(
    base: &Base,
    next_table: u64,
    physical: &Physical,
    places: &Places,
    permissions: Permissions,
) -> Result<(), Refusal> {
    let own = [
        (Extent { start: places.boot, length: PAGE }, BOOT, Rights::READ),
        (Extent { start: places.entry(), length: PAGE }, ENTRY, Rights::READ | Rights::EXECUTE),
        (places.image, physical.image.start, Rights::all()),
        (places.stack, physical.stack.start, Rights::all()),
        (places.heap, physical.heap.start, Rights::all()),
    ];
    // Whether a page of the guest's leads where it belongs, and may have these rights.
    let is_own = |address: u64, size: u64, leads_to: u64, wanted: Rights| {
        own.iter().any(|(place, start, rights)| {
            place.contains(address)
                && size <= place.end() - address
                && leads_to == start + (address - place.start)
                && rights.contains(wanted)
        })
    };
    let mut tables = HashSet::new();
    each_part(&base, PAGE_TABLES, |part| match part {
        Part::Table(table) if !(PAGE_TABLES..next_table).contains(&table) => {
            Err(malformed("page tables that lie elsewhere"))
        }
        Part::Table(table) if !tables.insert(table) => Err(malformed("a page table that is two")),
        Part::Table(_) => Ok(()),
        Part::Empty => Err(malformed("a page table that is empty")),
        // An inaccessible page: its entry keeps where it would lead.
        Part::Absent { address, level, bits } => {
            let size = entry_span(level);
            if size <= LARGE_PAGE && is_own(address, size, bits, Rights::empty()) {
                Ok(())
            } else {
                Err(malformed("an inaccessible page that is not the guest's"))
            }
        }
        Part::Leaf(leaf) => {
            let found = leaf.translation;
            if leaf.size > LARGE_PAGE || !found.physical.is_multiple_of(leaf.size) {
                return Err(malformed("a page of a size that no tender makes"));
            }
            if found.rights.contains(Rights::WRITE | Rights::EXECUTE) {
                return Err(malformed("a page that is writable and executable"));
            }
            if !found.user {
                let within =
                    places.system.contains(leaf.address) && leaf.size <= places.system.end() - leaf.address;
                if !within || found.physical != leaf.address - places.system.start {
                    return Err(malformed("a page of the system's in another place"));
                }
                return Ok(());
            }
            if !is_own(leaf.address, leaf.size, found.physical, found.rights) {
                return Err(malformed("a page that is not the guest's"));
            }
            let code = !places.image.contains(leaf.address) && leaf.address != places.entry();
            if code
                && found.rights.contains(Rights::EXECUTE)
                && !permissions.contains(Permissions::CODE_AT_RUN_TIME)
            {
                return Err(malformed("code made at run time, which its image does not ask for"));
            }
            Ok(())
        }
    })
}

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Refusal {
        malformed("page tables that lead elsewhere")
    }
}
