//! The memory of a snapshot, shared by all instances that are made of it.

use crate::memory::bits::words;
use crate::memory::{Copying, Reservation};
use crate::paging::{EntryMemory, from_bits};
use coracle_hypercall::memory::PAGE;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use x86_64::structures::paging::page_table::PageTableEntry;
use zerocopy::FromZeros;

/// Memory in a file, and copies of its pages to compare with and to copy from.
///
/// An instance maps the file. The tender itself never touches that mapping of a file that somebody may
/// cut: it reads the pages that it needs once, by position, and keeps them.
#[derive(Debug)]
pub(crate) struct Base {
    file: File,
    offset: u64,
    size: u64,
    /// Where the last page ends that is not zero.
    end: u64,
    /// What [`page`](Self::page) hands out.
    copies: Reservation,
    /// Which pages have been copied; `None` where the copies are the file itself, sealed.
    loaded: Option<Box<[AtomicU64]>>,
    loading: Mutex<()>,
}

impl Base {
    /// The memory of `size` bytes which the file has from `offset` on, of which nothing lies beyond `end`.
    /// `sealed` says that the file can neither be changed nor cut.
    pub(crate) fn new(file: File, sealed: bool, offset: u64, size: u64, end: u64) -> io::Result<Base> {
        let copies = if sealed {
            Reservation::of_file(&file, offset, size, libc::PROT_READ, libc::MAP_SHARED)?
        } else {
            let copies = Reservation::new(size)?;
            copies.open()?;
            copies
        };
        // Zeros that cost nothing until they are touched, however much memory the file names.
        let loaded = (!sealed).then(|| <[AtomicU64]>::new_box_zeroed_with_elems(words(size))).transpose();
        let loaded = loaded.map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Base { file, offset, size, end, copies, loaded, loading: Mutex::new(()) })
    }

    /// The bytes of memory.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Where the last page ends that is not zero.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How the tender gets at the memory of an instance.
    pub(crate) fn copying(&self) -> Copying {
        if self.loaded.is_some() { Copying::Kernel } else { Copying::Direct }
    }

    /// Address space with this memory, of which every page that is written becomes a copy.
    pub(crate) fn map(&self) -> io::Result<Reservation> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        Reservation::of_file(&self.file, self.offset, self.size, rights, libc::MAP_PRIVATE)
    }

    /// The bytes of a page, which stay as they are as long as this lives.
    ///
    /// # Errors
    /// When the page is beyond the memory or cannot be read.
    pub(crate) fn page(&self, number: u64) -> io::Result<*const u8> {
        if number >= self.size / PAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = self.copies.start().wrapping_add((number * PAGE) as usize);
        if let Some(loaded) = &self.loaded {
            let word = loaded.get((number / 64) as usize).ok_or(io::ErrorKind::InvalidInput)?;
            let bit = 1 << (number % 64);
            if word.load(Ordering::Acquire) & bit == 0 {
                self.load(number, page)?;
                word.fetch_or(bit, Ordering::Release);
            }
        }
        Ok(page)
    }

    /// Reads a page from the file.
    fn load(&self, number: u64, to: *mut u8) -> io::Result<()> {
        let mut bytes = [0; PAGE as usize];
        self.file.read_exact_at(&mut bytes, self.offset + number * PAGE)?;
        // Two threads may both find the page absent: the second finds it loaded, and writes it again.
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = self.loaded.as_ref().and_then(|loaded| loaded.get((number / 64) as usize))
            && word.load(Ordering::Acquire) & 1 << (number % 64) == 0
        {
            // The copies are zero before they are written: a page that is zero, as in a hole, costs no memory.
            if bytes.iter().any(|byte| *byte != 0) {
                // SAFETY: the page lies in the copies; nobody reads it before its bit is set, and whoever
                // sets it does so after this.
                unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            }
            word.fetch_or(1 << (number % 64), Ordering::Release);
        }
        Ok(())
    }

    /// Copies bytes of any pages.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (mut address, mut rest) = (address, buffer);
        while !rest.is_empty() {
            let at = address % PAGE;
            let length = rest.len().min((PAGE - at) as usize);
            let page = self.page(address / PAGE)?.wrapping_add(at as usize);
            let (part, after) = rest.split_at_mut(length);
            // SAFETY: so many bytes lie in the page from there on, which nobody writes any more.
            unsafe { page.copy_to_nonoverlapping(part.as_mut_ptr(), length) };
            (address, rest) = (address + length as u64, after);
        }
        Ok(())
    }

    /// Eight bytes at an address within one page.
    pub(crate) fn read_u64(&self, address: u64) -> io::Result<u64> {
        let at = address % PAGE;
        if at > PAGE - 8 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = self.page(address / PAGE)?.wrapping_add(at as usize);
        let mut bytes = [0; 8];
        // SAFETY: the eight bytes lie in the page, which nobody writes any more.
        unsafe { page.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(u64::from_le_bytes(bytes))
    }
}

impl EntryMemory for &Base {
    fn entry(&self, address: u64) -> Result<PageTableEntry, crate::memory::OutOfMemory> {
        let out = crate::memory::OutOfMemory { address, length: 8 };
        self.read_u64(address).map(from_bits).map_err(|_| out)
    }

    fn set_entry(&mut self, address: u64, _: &PageTableEntry) -> Result<(), crate::memory::OutOfMemory> {
        Err(crate::memory::OutOfMemory { address, length: 8 })
    }
}
