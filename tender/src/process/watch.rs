//! Which pages of the child were written: userfaultfd(2) protects them from writing, the kernel lifts that by
//! itself at the first write (`UFFD_FEATURE_WP_ASYNC`), and `PAGEMAP_SCAN` lists those of which it has. Linux 6.7
//! has both. As in KVM's log, a page that was written stays writable and listed until it is watched again.
//!
//! A page is taken for unwritten only where the kernel says that it is protected: of what else is told, or not
//! told, comes a copy too many at worst.

use super::space::Run;
use super::tracee::Tracee;
use crate::memory::Memory;
use crate::memory::bits::{clear, has, set, words};
use coracle_hypercall::memory::PAGE;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Requests and constants of linux/userfaultfd.h.
const API: u64 = 0xaa;
pub(crate) const UFFDIO_API: libc::Ioctl = libc::_IOWR::<[u64; 3]>(API as u32, 0x3f);
pub(crate) const UFFDIO_REGISTER: libc::Ioctl = libc::_IOWR::<[u64; 4]>(API as u32, 0x00);
pub(crate) const UFFDIO_WRITEPROTECT: libc::Ioctl = libc::_IOWR::<[u64; 3]>(API as u32, 0x06);
/// Of files in memory; of pages that are not there yet; without telling anybody.
const FEATURES: u64 = 1 << 12 | 1 << 13 | 1 << 15;
/// UFFDIO_REGISTER_MODE_WP.
const PROTECTING: u64 = 2;
/// UFFDIO_WRITEPROTECT_MODE_WP.
const PROTECT: u64 = 1;
/// UFFD_USER_MODE_ONLY, which everybody may ask for: system calls of the child are no concern.
const USER_MODE_ONLY: u64 = 1;
/// What is asked of userfaultfd(2).
pub(crate) const USERFAULTFD: u64 = libc::O_CLOEXEC as u64 | libc::O_NONBLOCK as u64 | USER_MODE_ONLY;

/// A request to list pages (linux/fs.h, `struct pm_scan_arg`).
#[derive(Debug, Default)]
#[repr(C)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    list: u64,
    length: u64,
    most: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    answer: u64,
}

/// What it lists (`struct page_region`).
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

pub(crate) const PAGEMAP_SCAN: libc::Ioctl = libc::_IOWR::<Scan>(b'f' as u32, 16);
/// PM_SCAN_CHECK_WPASYNC: refuse rather than answer what nobody watches.
const CHECK: u64 = 1 << 1;
/// PAGE_IS_WRITTEN: not protected, whether it is there or not.
const WRITTEN: u64 = 1 << 1;

/// How many regions one request lists.
const REGIONS: usize = 512;

/// Which pages a child has written, as far as that is known.
#[derive(Debug)]
pub(super) enum Written {
    /// Nobody has asked, or there are so few that it costs less to take all for written.
    All,
    /// They are watched.
    Watched(Box<Watch>),
    /// They cannot be watched.
    Unwatched,
}

/// So many pages are watched. That costs some 12 µs a call, and a page that is looked at 0.3 µs, so that it would
/// pay from fewer pages that no call writes on; but those that are written are among them.
const MANY: u64 = 128;

impl Written {
    /// Fills in the pages that were written, and begins to watch them where there are many.
    pub(super) fn pages(
        &mut self,
        tracee: &mut Tracee,
        runs: &[Run],
        memory: &Memory,
        bits: &mut [u64],
    ) -> io::Result<()> {
        if let Written::Watched(watch) = self {
            bits.fill(0);
            match watch.written(memory, bits) {
                Ok(()) => return Ok(()),
                Err(_) => *self = Written::Unwatched,
            }
        }
        if all_pages(memory, bits)? >= MANY && matches!(self, Written::All) {
            *self = match Watch::begin(tracee, runs, memory) {
                Ok(watch) => Written::Watched(Box::new(watch)),
                Err(_) => Written::Unwatched,
            };
        }
        Ok(())
    }

    /// Watches pages anew: bits from the page `64 × first_word` on.
    pub(super) fn watch_again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        match self {
            Written::Watched(watch) => watch.again(first_word, bits),
            Written::All | Written::Unwatched => Ok(()),
        }
    }
}

/// Fills in all pages that there are, but for those that are only zero: there is nothing of them in the file.
/// Answers how many.
pub(super) fn all_pages(memory: &Memory, bits: &mut [u64]) -> io::Result<u64> {
    bits.fill(0);
    let found = memory.pages_in_file()?;
    found.iter().cloned().flatten().for_each(|page| set(bits, page));
    Ok(found.iter().map(|pages| pages.end - pages.start).sum())
}

/// A part of the guest's memory that lies in one piece in the child.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: u64,
    physical: u64,
    length: u64,
}

/// Watches a child's pages.
#[derive(Debug)]
pub(super) struct Watch {
    descriptor: OwnedFd,
    pagemap: File,
    places: Vec<Place>,
    /// Pages that the memory's file was seen to have, a bit for each.
    there: Vec<u64>,
    regions: Vec<Region>,
}

impl Watch {
    /// Begins: for now all counts as written.
    ///
    /// # Errors
    /// When the kernel has no such thing, or whoever made the surroundings forbids it.
    pub(super) fn begin(tracee: &mut Tracee, runs: &[Run], memory: &Memory) -> io::Result<Watch> {
        let pagemap = File::open(format!("/proc/{}/pagemap", tracee.process()))?;
        let descriptor = make_in(tracee)?;
        let places = places(runs);
        let (Some(start), Some(end)) = (
            places.iter().map(|place| place.address).min(),
            places.iter().map(|place| place.address + place.length).max(),
        ) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        request(&descriptor, UFFDIO_API, &mut [API, FEATURES, 0])?;
        request(&descriptor, UFFDIO_REGISTER, &mut [start, end - start, PROTECTING, 0])?;
        let (there, regions) = (vec![0; words(memory.size())], vec![Region::default(); REGIONS]);
        let mut watch = Watch { descriptor, pagemap, places, there, regions };
        // Where /proc is of another PID namespace, the number there is another process's.
        if watch.tells_of(start)? { Ok(watch) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether the list follows what the descriptor does to a page. For now that counts as written.
    fn tells_of(&mut self, page: u64) -> io::Result<bool> {
        let mut follows = true;
        for (mode, listed) in [(0, 1), (PROTECT, 0), (0, 1)] {
            request(&self.descriptor, UFFDIO_WRITEPROTECT, &mut [page, PAGE, mode])?;
            follows &= self.scan(page, page + PAGE)?.0 == listed;
        }
        Ok(follows)
    }

    /// Adds the pages that were written, and that there are, to `bits`.
    pub(super) fn written(&mut self, memory: &Memory, bits: &mut [u64]) -> io::Result<()> {
        for index in 0..self.places.len() {
            let Some(place) = self.places.get(index).copied() else { break };
            let (mut at, end) = (place.address, place.address + place.length);
            while at < end {
                let (count, next) = self.scan(at, end)?;
                for index in 0..count {
                    let Some(region) = self.regions.get(index).copied() else { break };
                    let from = place.physical + (region.start - place.address);
                    self.add(memory, from / PAGE..(from + (region.end - region.start)) / PAGE, bits)?;
                }
                if next <= at {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                at = next;
            }
        }
        Ok(())
    }

    /// Lists written pages of a range: answers how many regions, and where the list ends.
    fn scan(&mut self, start: u64, end: u64) -> io::Result<(usize, u64)> {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            flags: CHECK,
            start,
            end,
            list: self.regions.as_mut_ptr().addr() as u64,
            length: self.regions.len() as u64,
            // Asked just so, the kernel also lists what it has no entry for, or no more.
            all_of: WRITTEN,
            answer: WRITTEN,
            ..Scan::default()
        };
        // SAFETY: the kernel fills at most as many regions as there are, and the request itself.
        let count = unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok((count, scan.walk_end))
    }

    /// Adds those of the pages that there are: nobody has written the others.
    fn add(&mut self, memory: &Memory, pages: Range<u64>, bits: &mut [u64]) -> io::Result<()> {
        let mut at = pages.start;
        while at < pages.end {
            let known = (at..pages.end).take_while(|page| has(&self.there, *page)).count() as u64;
            (at..at + known).for_each(|page| set(bits, page));
            at += known;
            let unknown = (at..pages.end).take_while(|page| !has(&self.there, *page)).count() as u64;
            for page in memory.pages_in_file_of(at..at + unknown)?.into_iter().flatten() {
                set(&mut self.there, page);
                set(bits, page);
            }
            at += unknown;
        }
        Ok(())
    }

    /// Watches pages anew: bits from the page `64 × first_word` on.
    pub(super) fn again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        let mut at = first_word as u64 * 64;
        let (base, end) = (at, at + bits.len() as u64 * 64);
        while at < end {
            let count = (at..end).take_while(|page| has(bits, page - base)).count() as u64;
            self.protect(at..at + count)?;
            // Their memory may have been given back.
            (at..at + count).for_each(|page| clear(&mut self.there, page));
            at += count;
            at += (at..end).take_while(|page| !has(bits, page - base)).count() as u64;
        }
        Ok(())
    }

    fn protect(&self, pages: Range<u64>) -> io::Result<()> {
        let (start, end) = (pages.start * PAGE, pages.end * PAGE);
        for place in &self.places {
            let from = start.max(place.physical);
            let to = end.min(place.physical + place.length);
            if from < to {
                let address = place.address + (from - place.physical);
                request(&self.descriptor, UFFDIO_WRITEPROTECT, &mut [address, to - from, PROTECT])?;
            }
        }
        Ok(())
    }
}

/// Has a child make a descriptor for its memory and takes it from it.
fn make_in(tracee: &mut Tracee) -> io::Result<OwnedFd> {
    let number = tracee.call(libc::SYS_userfaultfd, [USERFAULTFD])?;
    let taken = take(tracee.process(), number);
    tracee.call(libc::SYS_close, [number])?;
    taken
}

fn take(process: libc::pid_t, number: u64) -> io::Result<OwnedFd> {
    let open = |descriptor: libc::c_long| match i32::try_from(descriptor) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the call takes numbers alone.
    let process = open(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: as above.
    open(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

fn request<const N: usize>(descriptor: &OwnedFd, what: libc::Ioctl, words: &mut [u64; N]) -> io::Result<()> {
    // SAFETY: the requests above read and fill structures of so many words.
    match unsafe { libc::ioctl(descriptor.as_raw_fd(), what, words.as_mut_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs without their rights, which are fewer.
fn places(runs: &[Run]) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for run in runs {
        match places.last_mut() {
            Some(last)
                if last.address + last.length == run.address
                    && last.physical + last.length == run.physical =>
            {
                last.length += run.length;
            }
            _ => places.push(Place { address: run.address, physical: run.physical, length: run.length }),
        }
    }
    places
}
