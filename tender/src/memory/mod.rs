//! Guest-physical memory as the tender sees it.
//!
//! The guest runs while the tender holds this, so nothing here hands out a Rust reference to guest
//! memory: bytes are copied in or out, or given to the host's kernel by pointer for one system call.
//!
//! | file | what it does |
//! |---|---|
//! | `access` | reads and writes it, every access checked |
//! | `bits` | one bit for each page |
//! | `file` | lies in a file where another process maps it |
//! | `pagemap` | which pages this process has |
//! | `reservation` | the address space it lies in |
//! | `written` | which pages the tender has written |

pub(crate) mod bits;

mod access;
mod file;
mod pagemap;
mod reservation;
mod written;

pub(crate) use access::Copying;
pub(crate) use file::BEYOND;
#[cfg(feature = "confine")]
pub(crate) use file::MFD_EXEC;

pub(crate) use pagemap::Pagemap;
pub(crate) use reservation::Reservation;
pub(crate) use written::Written;

use crate::layout::size_down;
use coracle_hypercall::memory::PAGE;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use vm_memory::mmap::MmapRegion;
use zerocopy::IntoBytes;

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
        let file = file::make(size).map_err(refused)?;
        let reservation = Reservation::of_shared_file(&file, size).map_err(refused)?;
        let memory = Memory::of(reservation, Copying::Direct).map_err(refused)?;
        Ok(Memory { file: Some(file), ..memory })
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
        let advice = match advice {
            Advice::HugePages => libc::MADV_HUGEPAGE,
            Advice::BackNow => libc::MADV_POPULATE_WRITE,
        };
        let _ = self.ask(address, length, advice);
    }

    /// Asks the kernel for something about this mapping that does not change what is read from it.
    fn ask(&self, address: u64, length: u64, advice: libc::c_int) -> io::Result<()> {
        let slice = self.slice(address, length).map_err(io::Error::other)?;
        // SAFETY: the range is mapped, and what is read from it stays as it is.
        match unsafe { libc::madvise(slice.ptr_guard_mut().as_ptr().cast(), slice.len(), advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What the last [advice](Self::advise) for huge pages was about.
    pub(crate) fn huge(&self) -> Range<u64> {
        let (start, end) = self.huge.get();
        start..end
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
                Some(file) => file::punch(file, end, self.end - end)?,
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

    /// What the tender itself has written, where that is kept.
    pub(crate) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }
}

/// What the host is told about a part of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Back it with huge pages when it is touched.
    HugePages,
    /// Back it now, all at once, which is cheaper than fault by fault.
    BackNow,
}
