//! Address space for guest memory.

use coracle_hypercall::memory::LARGE_PAGE;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A run of this process's address space that nobody else uses.
#[derive(Debug)]
pub(crate) struct Reservation {
    address: *mut libc::c_void,
    length: usize,
    start: *mut u8,
    size: u64,
}

// SAFETY: the reservation is a range of address space that nobody else knows; it is unmapped once,
// when its only owner is dropped, on whatever thread that happens.
unsafe impl Send for Reservation {}
// SAFETY: shared, it gives nothing but addresses and system calls on its own range.
unsafe impl Sync for Reservation {}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nothing refers to it any more: whoever hands
        // pointers into it out keeps the reservation alive.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

impl Reservation {
    /// Reserves `size` bytes, a multiple of 2 MiB, aligned to 2 MiB, with inaccessible room at both ends. They are
    /// inaccessible themselves until they are [opened](Self::open).
    pub(crate) fn new(size: u64) -> io::Result<Reservation> {
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let large = LARGE_PAGE as usize;
        let length = usize::try_from(size).ok().and_then(|size| size.checked_add(2 * large));
        let length = length.ok_or_else(too_large)?;
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // At least one byte and at most a whole large page is skipped: there is room before and after.
        let skip = large - (address.addr() & (large - 1));
        let start = address.cast::<u8>().wrapping_add(skip);
        let reservation = Reservation { address, length, start, size };
        reservation.keep_out_of_dumps()?;
        Ok(reservation)
    }

    /// A mapping of `size` bytes of a file, in a place of its own without room around it: for a process with
    /// many, each further mapping makes all others dearer. `sharing` is `MAP_PRIVATE` or `MAP_SHARED`.
    pub(crate) fn of_file(
        file: &File,
        offset: u64,
        size: u64,
        rights: libc::c_int,
        sharing: libc::c_int,
    ) -> io::Result<Reservation> {
        let length = usize::try_from(size).map_err(io::Error::other)?;
        let from = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let flags = sharing | libc::MAP_NORESERVE;
        Reservation::map(std::ptr::null_mut(), length, rights, flags, file, from)
    }

    /// The same for a whole file, at a multiple of 2 MiB where there is room at one: only there huge pages of the
    /// file can be made and mapped as such.
    pub(crate) fn of_shared_file(file: &File, size: u64) -> io::Result<Reservation> {
        let length = usize::try_from(size).map_err(io::Error::other)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let place = Reservation::map(std::ptr::null_mut(), length, rights, flags, file, 0)?.address;
        // New mappings lie below older ones: there is room a little further down.
        let aligned = place.map_addr(|address| address & !(LARGE_PAGE as usize - 1));
        Reservation::map(aligned, length, rights, flags, file, 0)
    }

    /// Maps a file, at `wanted` if there is room.
    fn map(
        wanted: *mut libc::c_void,
        length: usize,
        rights: libc::c_int,
        flags: libc::c_int,
        file: &File,
        from: libc::off_t,
    ) -> io::Result<Reservation> {
        // SAFETY: a new mapping where the kernel has room: what is mapped already stays.
        let address = unsafe { libc::mmap(wanted, length, rights, flags, file.as_raw_fd(), from) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reservation = Reservation { address, length, start: address.cast(), size: length as u64 };
        reservation.keep_out_of_dumps()?;
        Ok(reservation)
    }

    /// Leaves it out of core dumps of this process: what a guest has in memory is nobody else's.
    fn keep_out_of_dumps(&self) -> io::Result<()> {
        // SAFETY: the range is this reservation's, and what it holds stays as it is.
        match unsafe { libc::madvise(self.address, self.length, libc::MADV_DONTDUMP) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// The length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Makes all of it readable and writable, zero.
    pub(crate) fn open(&self) -> io::Result<()> {
        self.protect(0, self.size, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Gives a part other rights.
    pub(crate) fn protect(&self, offset: u64, length: u64, rights: libc::c_int) -> io::Result<()> {
        let at = self.at(offset, length)?;
        // SAFETY: the range lies within the reservation.
        match unsafe { libc::mprotect(at, length as usize, rights) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Gives the memory of a part back: it is then what was mapped there.
    pub(crate) fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let at = self.at(offset, length)?;
        // SAFETY: the range lies within the reservation; who looks at it expects it to change.
        match unsafe { libc::madvise(at, length as usize, libc::MADV_DONTNEED) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn at(&self, offset: u64, length: u64) -> io::Result<*mut libc::c_void> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.start.wrapping_add(offset as usize).cast())
    }
}
