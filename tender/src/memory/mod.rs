//! Guest-physical memory as the tender sees it.
//!
//! The guest runs while the tender holds this, so nothing here hands out a Rust reference to guest
//! memory: bytes are copied in or out, or given to the host's kernel by pointer for one system call.

mod pagemap;
mod reservation;
mod written;

pub(crate) use pagemap::Pagemap;
pub(crate) use reservation::Reservation;
pub(crate) use written::{Written, words};

use crate::layout::size_down;
use coracle_hypercall::memory::PAGE;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use vm_memory::mmap::MmapRegion;
use vm_memory::volatile_memory::VolatileMemory;
use vm_memory::{Bytes, VolatileSlice};
use zerocopy::IntoBytes;

/// Runs of memory that one system call takes (IOV_MAX of Linux).
const MAX_VECTORS: usize = 1024;

/// Why guest memory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host refused the address space.
    #[error("cannot reserve {} of address space for the guest: {source} (try a smaller --mem)", size_down(*.size))]
    Reserve {
        /// How much was asked for, in bytes.
        size: u64,
        /// The host's reason.
        source: io::Error,
    },
}

/// An access outside of guest memory. It cannot come from the guest: guest addresses are checked
/// when they are translated.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("guest-physical range {address:#x}+{length:#x} is outside of memory")]
pub struct OutOfMemory {
    /// The first guest-physical address of the access.
    pub address: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// All memory of one guest: one run of guest-physical addresses from 0, backed by the host when it
/// is first touched.
#[derive(Debug)]
pub struct Memory {
    region: MmapRegion,
    /// What the tender wrote, where that is to be taken back.
    written: Option<Written>,
    copying: Copying,
    /// What lies from here on is not accessible now.
    end: u64,
    /// Whether the tender was to reach what is not accessible now.
    asked_beyond_end: AtomicBool,
    /// What a process that runs the guest maps.
    file: Option<File>,
    /// What is better backed with huge pages, by whoever maps that.
    huge: Cell<(u64, u64)>,
    /// Keeps the region mapped.
    reservation: Reservation,
}

/// How the tender reads and writes guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copying {
    /// By itself.
    Direct,
    /// By the host's kernel: behind the memory is a file that may be cut, where an access of the
    /// tender's own would end the process.
    Kernel,
}

impl Memory {
    /// Reserves `size` bytes, a multiple of 2 MiB, aligned to 2 MiB on the host so that the
    /// guest's large pages can be large pages of the host.
    ///
    /// # Errors
    /// When the host has no such address space.
    pub fn new(size: u64) -> Result<Memory, MemoryError> {
        let refused = |source| MemoryError::Reserve { size, source };
        let reservation = Reservation::new(size).map_err(refused)?;
        reservation.open().map_err(refused)?;
        Memory::of(reservation, Copying::Direct).map_err(refused)
    }

    /// The memory of an instance that will be given back clean. All of the reservation is mapped
    /// readable and writable.
    pub(crate) fn reusable(reservation: Reservation, copying: Copying) -> Result<Memory, MemoryError> {
        let size = reservation.size();
        let memory = Memory::of(reservation, copying);
        let memory = memory.map_err(|source| MemoryError::Reserve { size, source })?;
        Ok(memory.reused())
    }

    /// The same, as the memory of an instance that will be given back clean.
    pub(crate) fn reused(self) -> Memory {
        Memory { written: Some(Written::none(self.size())), ..self }
    }

    /// Memory of `size` bytes, a multiple of 2 MiB, that another process can map: it lies in a file.
    ///
    /// # Errors
    /// When the host has no such file or address space.
    pub(crate) fn shared(size: u64) -> Result<Memory, MemoryError> {
        let refused = |source| MemoryError::Reserve { size, source };
        let file = shared_file(size).map_err(refused)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let reservation = Reservation::of_file(&file, 0, size, rights, libc::MAP_SHARED).map_err(refused)?;
        let memory = Memory::of(reservation, Copying::Direct).map_err(refused)?;
        Ok(Memory { file: Some(file), ..memory })
    }

    /// The file that it lies in, where it was made so.
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    fn of(reservation: Reservation, copying: Copying) -> io::Result<Memory> {
        // SAFETY: the range is mapped readable and writable and lives as long as the reservation,
        // which is dropped together with the region.
        let region = unsafe {
            MmapRegion::build_raw(
                reservation.start(),
                reservation.size() as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            )
        }
        .map_err(io::Error::other)?;
        let end = reservation.size();
        let asked_beyond_end = AtomicBool::new(false);
        Ok(Memory {
            region,
            written: None,
            copying,
            end,
            asked_beyond_end,
            file: None,
            huge: Cell::default(),
            reservation,
        })
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.region.size() as u64
    }

    /// The host address of guest-physical address 0, for the kernel's use.
    #[must_use]
    pub fn host_address(&self) -> u64 {
        self.region.as_ptr().addr() as u64
    }

    /// Tells the host that it may back `length` bytes at `address` with huge pages, and (`now`) to
    /// back them at once. What the host cannot do costs speed only, so its refusal is not an error.
    pub fn advise(&self, address: u64, length: u64, advice: Advice) {
        if advice == Advice::HugePages {
            self.huge.set((address, address.saturating_add(length)));
        }
        if let Ok(slice) = self.slice(address, length) {
            let guard = slice.ptr_guard_mut();
            let advice = match advice {
                Advice::HugePages => libc::MADV_HUGEPAGE,
                Advice::BackNow => libc::MADV_POPULATE_WRITE,
            };
            // SAFETY: the range is mapped, and none of these changes what is read from it.
            unsafe { libc::madvise(guard.as_ptr().cast(), slice.len(), advice) };
        }
    }

    /// What the last [advice](Self::advise) for huge pages was about.
    pub(crate) fn huge(&self) -> Range<u64> {
        let (start, end) = self.huge.get();
        start..end
    }

    /// Has the host back one page of a file now.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn back_in_file(&self, address: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        allocate(file, libc::FALLOC_FL_KEEP_SIZE, address, PAGE)
    }

    /// The numbers of the pages that the host has backed so far, in order. All others are zero.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn backed_pages(&self) -> io::Result<Vec<u64>> {
        if self.file.is_some() {
            return Ok(self.pages_in_file()?.into_iter().flatten().collect());
        }
        // Documentation/admin-guide/mm/pagemap.rst: eight bytes a page, of which bit 63 says that it is in
        // memory and bit 62 that it is swapped out.
        const BACKED: u64 = 0b11 << 62;
        let mut entries = vec![0_u64; (self.size() / PAGE) as usize];
        let from = self.host_address() / PAGE * 8;
        Pagemap::of_this_process()?.file().read_exact_at(entries.as_mut_bytes(), from)?;
        Ok((0..).zip(entries).filter(|(_, entry)| entry & BACKED != 0).map(|(page, _)| page).collect())
    }

    /// Makes pages, given by their numbers, what they are in another place: `source` says where.
    ///
    /// # Safety
    /// For each of the numbers `source` answers a readable page that nobody writes and that is no part
    /// of this memory. No vCPU of this memory runs.
    ///
    /// # Errors
    /// When there is no such page, or what was behind the memory is gone.
    pub(crate) unsafe fn put_back(
        &self,
        numbers: &[u64],
        source: impl Fn(u64) -> *const u8,
    ) -> Result<(), OutOfMemory> {
        let last = numbers.iter().copied().max().unwrap_or_default();
        self.slice(last.saturating_mul(PAGE), PAGE)?;
        let page_at = |number: u64| self.region.as_ptr().wrapping_add((number * PAGE) as usize);
        match self.copying {
            Copying::Direct => {
                for number in numbers {
                    // SAFETY: the page lies in memory, for the last one does; the rest is the caller's promise.
                    unsafe { page_at(*number).copy_from_nonoverlapping(source(*number), PAGE as usize) };
                }
                Ok(())
            }
            Copying::Kernel => numbers.chunks(MAX_VECTORS).try_for_each(|numbers| {
                let entry = |base: *mut u8| libc::iovec { iov_base: base.cast(), iov_len: PAGE as usize };
                let here: Vec<_> = numbers.iter().map(|number| entry(source(*number).cast_mut())).collect();
                let there: Vec<_> = numbers.iter().map(|number| entry(page_at(*number))).collect();
                let count = numbers.len() as libc::c_ulong;
                // SAFETY: as above; the kernel checks every byte of both sides besides.
                let copied = unsafe {
                    libc::process_vm_writev(libc::getpid(), here.as_ptr(), count, there.as_ptr(), count, 0)
                };
                let whole = copied == (numbers.len() as isize) * PAGE as isize;
                let address = numbers.first().map_or(0, |number| number * PAGE);
                if whole { Ok(()) } else { Err(OutOfMemory { address, length: PAGE }) }
            }),
        }
    }

    /// Whether a page has the bytes that are at `other`.
    ///
    /// # Safety
    /// `other` is a readable page that nobody writes.
    ///
    /// # Errors
    /// When there is no such page, or what was behind it is gone.
    pub(crate) unsafe fn is_like(&self, number: u64, other: *const u8) -> Result<bool, OutOfMemory> {
        let mut mine = [0; PAGE as usize];
        self.read(number.saturating_mul(PAGE), &mut mine)?;
        // SAFETY: the caller's promise.
        let other = unsafe { std::slice::from_raw_parts(other, PAGE as usize) };
        Ok(mine == *other)
    }

    /// The end of what is accessible now.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether something of what is not accessible now was asked for, since this was asked last.
    pub(crate) fn was_asked_beyond_end(&self) -> bool {
        self.asked_beyond_end.load(Ordering::Relaxed) && self.asked_beyond_end.swap(false, Ordering::Relaxed)
    }

    /// Makes all from `end` on, a multiple of a page, inaccessible, and what lies before that accessible. What
    /// becomes inaccessible comes back as it was mapped: zero, or what the snapshot's file has there.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn set_end(&mut self, end: u64) -> io::Result<()> {
        let end = end.min(self.size());
        if end < self.end {
            match &self.file {
                Some(file) => punch(file, end, self.end - end)?,
                None => self.reservation.discard(end, self.end - end)?,
            }
            self.reservation.protect(end, self.end - end, libc::PROT_NONE)?;
        } else if end > self.end {
            self.reservation.protect(self.end, end - self.end, libc::PROT_READ | libc::PROT_WRITE)?;
        }
        self.end = end;
        Ok(())
    }

    /// Gives back what the host keeps for pages: they are then as they were mapped.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn discard(&self, first_page: u64, count: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            return self.discard_zeros(file, first_page, count);
        }
        self.reservation.discard(first_page * PAGE, count * PAGE)
    }

    /// The same where the memory is shared, which is as it was only where it is zero.
    fn discard_zeros(&self, file: &File, first_page: u64, count: u64) -> io::Result<()> {
        let mut bytes = [0; PAGE as usize];
        for page in first_page..first_page.saturating_add(count) {
            self.read(page * PAGE, &mut bytes).map_err(io::Error::other)?;
            if bytes.iter().all(|byte| *byte == 0) {
                punch(file, page * PAGE, PAGE)?;
            }
        }
        Ok(())
    }

    /// The pages of the file that it lies in, by their numbers: all others are zero.
    pub(crate) fn pages_in_file(&self) -> io::Result<Vec<Range<u64>>> {
        self.pages_in_file_of(0..self.size() / PAGE)
    }

    /// The same of some pages.
    pub(crate) fn pages_in_file_of(&self, pages: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the call takes numbers alone.
        let seek = |from: u64, whence| unsafe { libc::lseek(file.as_raw_fd(), from as i64, whence) };
        let last = pages.end.saturating_mul(PAGE).min(self.size());
        let mut found = Vec::new();
        let mut at = pages.start.saturating_mul(PAGE);
        while at < last {
            let Ok(start) = u64::try_from(seek(at, libc::SEEK_DATA)) else {
                match io::Error::last_os_error() {
                    // There is no more.
                    error if error.raw_os_error() == Some(libc::ENXIO) => break,
                    error => return Err(error),
                }
            };
            if start >= last {
                break;
            }
            let end = u64::try_from(seek(start, libc::SEEK_HOLE)).map_err(|_| io::Error::last_os_error())?;
            let end = end.min(last);
            found.push(start / PAGE..end.div_ceil(PAGE));
            at = end.max(start + PAGE);
        }
        Ok(found)
    }

    /// What the tender itself has written, where that is kept.
    pub(crate) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }

    /// The bytes at a guest-physical address, for the kernel to read.
    ///
    /// # Errors
    /// When they do not all lie in memory.
    pub fn slice(&self, address: u64, length: u64) -> Result<VolatileSlice<'_>, OutOfMemory> {
        let out = OutOfMemory { address, length };
        let after = address.checked_add(length).ok_or(out)?;
        if after > self.end {
            self.asked_beyond_end.fetch_or(after <= self.size(), Ordering::Relaxed);
            return Err(out);
        }
        let start = usize::try_from(address).map_err(|_| out)?;
        let count = usize::try_from(length).map_err(|_| out)?;
        self.region.get_slice(start, count).map_err(|_| out)
    }

    /// The bytes at a guest-physical address, for the kernel to write.
    ///
    /// # Errors
    /// When they do not all lie in memory.
    pub fn writable(&self, address: u64, length: u64) -> Result<VolatileSlice<'_>, OutOfMemory> {
        let slice = self.slice(address, length)?;
        if let Some(written) = &self.written {
            written.add(address, length);
        }
        Ok(slice)
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// When they do not all lie in memory, or what was behind them is gone.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), OutOfMemory> {
        let length = buffer.len() as u64;
        let out = OutOfMemory { address, length };
        let slice = self.slice(address, length)?;
        match self.copying {
            Copying::Direct => slice.read_slice(buffer, 0).map_err(|_| out),
            Copying::Kernel => {
                let here = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
                let there = vector(&slice);
                // SAFETY: one entry each; the kernel writes to the buffer alone, whose length is given.
                let copied = unsafe { libc::process_vm_readv(libc::getpid(), &here, 1, &there, 1, 0) };
                if copied == buffer.len() as isize { Ok(()) } else { Err(out) }
            }
        }
    }

    /// Appends bytes to a buffer, which must have room for them.
    ///
    /// # Errors
    /// When they do not all lie in memory, or what was behind them is gone: then none is appended.
    pub(crate) fn append_to(
        &self,
        address: u64,
        length: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        let before = buffer.len();
        buffer.resize(before + length as usize, 0);
        let result = self.read(address, buffer.get_mut(before..).unwrap_or_default());
        if result.is_err() {
            buffer.truncate(before);
        }
        result
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// When they do not all lie in memory; nothing is written then. When what was behind them is gone.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let length = bytes.len() as u64;
        let out = OutOfMemory { address, length };
        let slice = self.writable(address, length)?;
        match self.copying {
            Copying::Direct => slice.write_slice(bytes, 0).map_err(|_| out),
            Copying::Kernel => {
                let here = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
                let there = vector(&slice);
                // SAFETY: one entry each; the kernel only reads the bytes, and writes guest memory.
                let copied = unsafe { libc::process_vm_writev(libc::getpid(), &here, 1, &there, 1, 0) };
                if copied == bytes.len() as isize { Ok(()) } else { Err(out) }
            }
        }
    }

    /// Reads a little-endian 64-bit value.
    ///
    /// # Errors
    /// When it does not lie in memory.
    pub fn read_u64(&self, address: u64) -> Result<u64, OutOfMemory> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a little-endian 64-bit value.
    ///
    /// # Errors
    /// When it does not lie in memory.
    pub fn write_u64(&self, address: u64, value: u64) -> Result<(), OutOfMemory> {
        self.write(address, &value.to_le_bytes())
    }

    /// Fills `length` bytes from a file, by `pread`: the file may shrink meanwhile.
    ///
    /// # Errors
    /// The host's, [`io::ErrorKind::UnexpectedEof`] when the file is too short.
    pub fn fill_from(&self, address: u64, length: u64, file: &File, mut offset: u64) -> io::Result<()> {
        let mut address = address;
        let mut left = length;
        while left > 0 {
            let slice = self.writable(address, left).map_err(io::Error::other)?;
            let guard = slice.ptr_guard_mut();
            let at = libc::off_t::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: the kernel writes at most `slice.len()` bytes to memory that is the guest's.
            let done = unsafe { libc::pread(file.as_raw_fd(), guard.as_ptr().cast(), slice.len(), at) };
            match done {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                1.. => {
                    let done = done as u64;
                    address += done;
                    offset += done;
                    left -= done;
                }
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Linux 6.3 and newer want to be told that parts of a file in memory will be executable.
pub(crate) const MFD_EXEC: libc::c_uint = 0x10;

/// A file in memory, of this length and a little more.
fn shared_file(size: u64) -> io::Result<File> {
    // SAFETY: the name is a C string; the call gives a new descriptor or an error.
    let make = |flags| unsafe { libc::memfd_create(c"coracle-guest".as_ptr(), libc::MFD_CLOEXEC | flags) };
    let mut descriptor = make(MFD_EXEC);
    if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        descriptor = make(0);
    }
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(descriptor) };
    file.set_len(size.checked_add(BEYOND).ok_or(io::ErrorKind::InvalidInput)?)?;
    Ok(file)
}

/// Gives a part of a file in memory back: it is zero then.
fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
}

fn allocate(file: &File, how: libc::c_int, offset: u64, length: u64) -> io::Result<()> {
    let range = |value: u64| libc::off_t::try_from(value).map_err(io::Error::other);
    // SAFETY: the call takes numbers alone.
    match unsafe { libc::fallocate(file.as_raw_fd(), how, range(offset)?, range(length)?) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a file of guest memory has beyond that, for the tender's own use in the process that maps it.
const BEYOND: u64 = 16 << 10;

/// A run of guest memory as system calls take it.
fn vector(slice: &VolatileSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }
}

/// What the host is told about a part of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Back it with huge pages when it is touched.
    HugePages,
    /// Back it now, all at once, which is cheaper than fault by fault.
    BackNow,
}

#[cfg(test)]
mod tests {
    use super::Memory;

    const SIZE: u64 = 2 << 20;

    #[test]
    fn what_is_written_is_read_back() {
        let memory = Memory::new(SIZE).expect("memory");
        memory.write_u64(SIZE - 8, 0x1122_3344_5566_7788).expect("write");
        assert_eq!(memory.read_u64(SIZE - 8).expect("read"), 0x1122_3344_5566_7788);
    }

    #[test]
    fn an_access_across_the_end_is_refused_as_a_whole() {
        let memory = Memory::new(SIZE).expect("memory");
        assert!(memory.write(SIZE - 4, &[1; 8]).is_err());
        assert!(memory.slice(u64::MAX, 2).is_err());
        let mut last = [9; 4];
        memory.read(SIZE - 4, &mut last).expect("read");
        assert_eq!(last, [0; 4]);
    }

    #[test]
    fn a_file_shorter_than_asked_is_an_error() {
        let memory = Memory::new(SIZE).expect("memory");
        let file = std::fs::File::open("/dev/null").expect("open");
        let error = memory.fill_from(0, 1, &file, 0).expect_err("empty file");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
