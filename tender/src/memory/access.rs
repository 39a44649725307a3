//! Reading and writing guest memory.

use super::{Memory, OutOfMemory};
use coracle_hypercall::memory::PAGE;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use vm_memory::volatile_memory::VolatileMemory;
use vm_memory::{Bytes, VolatileSlice};

/// Runs of memory that one system call takes (IOV_MAX of Linux).
const MAX_VECTORS: usize = 1024;

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
}

/// A run of guest memory as system calls take it.
fn vector(slice: &VolatileSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }
}

#[cfg(test)]
mod tests {
    use crate::memory::Memory;

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
