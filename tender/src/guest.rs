//! Guest memory by guest-virtual address, with the guest's own rights.
//!
//! Every pointer of a guest goes through here: it is translated by the page tables, which the guest
//! cannot write, page by page, with its length checked against overflow.

use crate::memory::Memory;
use crate::paging::{Access, EntryMemory, walk};
use coracle_hypercall::call::MAX_BYTES;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{GuestAddress, GuestSlice, Rights};
use zerocopy::FromBytes;

/// How many bytes are copied before it is looked whether to go on.
pub(crate) const PIECE: usize = 256 << 10;

/// The memory of a stopped guest as the guest itself would see it.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    memory: &'a Memory,
    root: u64,
}

/// A run of guest-physical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first guest-physical address.
    pub physical: u64,
    /// The length in bytes.
    pub length: u64,
}

impl<'a> Guest<'a> {
    /// Memory under the PML4 at `root`.
    #[must_use]
    pub fn new(memory: &'a Memory, root: u64) -> Guest<'a> {
        Guest { memory, root }
    }

    /// The physical memory.
    #[must_use]
    pub fn memory(&self) -> &'a Memory {
        self.memory
    }

    /// Hands the runs that a slice consists of to `each`, in order, neighbours joined.
    ///
    /// # Errors
    /// [`CallError::TooLong`] beyond the bound of a call, [`CallError::BadAddress`] where a part is
    /// not the guest's to use so. `each` may have seen runs before.
    pub fn runs(
        &self,
        slice: GuestSlice,
        access: Access,
        each: impl FnMut(Run) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        runs(&self.memory, self.root, slice, access, each)
    }

    /// Copies bytes from the guest.
    ///
    /// # Errors
    /// [`CallError::BadAddress`] unless the guest may read all of them.
    pub fn read(&self, address: GuestAddress, buffer: &mut [u8]) -> Result<(), CallError> {
        let mut rest = buffer;
        let slice = GuestSlice { address, length: rest.len() as u64 };
        self.runs(slice, Access::Read, |run| {
            let (part, after) = std::mem::take(&mut rest)
                .split_at_mut_checked(run.length as usize)
                .ok_or(CallError::BadAddress)?;
            rest = after;
            self.memory.read(run.physical, part).map_err(|_| CallError::BadAddress)
        })
    }

    /// Copies bytes from the guest, as many as a slice names.
    ///
    /// # Errors
    /// [`CallError::TooLong`], [`CallError::BadAddress`] unless the guest may read all of them.
    pub fn read_bytes(&self, slice: GuestSlice) -> Result<Vec<u8>, CallError> {
        let mut bytes = Vec::new();
        self.runs(slice, Access::Read, |run| {
            self.memory.append_to(run.physical, run.length, &mut bytes).map_err(|_| CallError::BadAddress)
        })?;
        Ok(bytes)
    }

    /// Copies bytes to the guest.
    ///
    /// # Errors
    /// [`CallError::BadAddress`] unless the guest may write all of them: then none may be written.
    pub fn write(&self, address: GuestAddress, bytes: &[u8]) -> Result<(), CallError> {
        let slice = GuestSlice { address, length: bytes.len() as u64 };
        self.runs(slice, Access::Write, |_| Ok(()))?;
        let mut rest = bytes;
        self.runs(slice, Access::Write, |run| {
            let (part, after) = rest.split_at_checked(run.length as usize).ok_or(CallError::BadAddress)?;
            rest = after;
            self.memory.write(run.physical, part).map_err(|_| CallError::BadAddress)
        })
    }

    /// The same piece by piece, as long as `go_on` says so before each further one. Says whether it did.
    pub(crate) fn write_while(
        &self,
        address: GuestAddress,
        bytes: &[u8],
        go_on: impl Fn() -> bool,
    ) -> Result<bool, CallError> {
        let slice = GuestSlice { address, length: bytes.len() as u64 };
        self.runs(slice, Access::Write, |_| Ok(()))?;
        let mut address = address;
        for (number, piece) in bytes.chunks(PIECE).enumerate() {
            if number > 0 && !go_on() {
                return Ok(false);
            }
            self.write(address, piece)?;
            address.0 += piece.len() as u64;
        }
        Ok(true)
    }

    /// Copies a structure of the contract from the guest.
    ///
    /// # Errors
    /// [`CallError::BadAddress`] unless the guest may read all of it.
    pub fn read_struct<T: FromBytes>(&self, address: u64) -> Result<T, CallError> {
        let mut bytes = [0; 128];
        let bytes = bytes.get_mut(..size_of::<T>()).ok_or(CallError::TooLong)?;
        self.read(GuestAddress(address), bytes)?;
        T::read_from_bytes(bytes).map_err(|_| CallError::BadAddress)
    }

    /// Copies a text from the guest, no more than `limit` bytes of it.
    ///
    /// # Errors
    /// [`CallError::BadAddress`] unless the guest may read all that is copied.
    pub fn read_text(&self, slice: GuestSlice, limit: u64) -> Result<String, CallError> {
        let mut bytes = vec![0; slice.length.min(limit) as usize];
        self.read(slice.address, &mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Copies bytes, however few of them the guest itself could read. For reports.
    #[must_use]
    pub fn try_read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(GuestAddress(address), buffer).is_ok()
    }

    /// What the guest may do at an address; `None` where nothing is mapped for it.
    #[must_use]
    pub fn rights(&self, address: u64) -> Option<Rights> {
        let found = walk(&self.memory, self.root, address).ok().flatten()?;
        found.user.then_some(found.rights)
    }
}

/// Hands the runs that a slice consists of under the PML4 at `root` to `each`, as [`Guest::runs`] does.
pub(crate) fn runs<M: EntryMemory>(
    memory: &M,
    root: u64,
    slice: GuestSlice,
    access: Access,
    mut each: impl FnMut(Run) -> Result<(), CallError>,
) -> Result<(), CallError> {
    if slice.length > MAX_BYTES {
        return Err(CallError::TooLong);
    }
    slice.end().ok_or(CallError::BadAddress)?;
    let mut open: Option<Run> = None;
    let mut done = 0;
    while done < slice.length {
        let found = walk(memory, root, slice.address.0 + done);
        let found = found.ok().flatten().filter(|found| found.allows(access));
        let found = found.ok_or(CallError::BadAddress)?;
        let length = found.left.min(slice.length - done);
        done += length;
        open = Some(match open {
            Some(run) if run.physical + run.length == found.physical => {
                Run { physical: run.physical, length: run.length + length }
            }
            Some(run) => {
                each(run)?;
                Run { physical: found.physical, length }
            }
            None => Run { physical: found.physical, length },
        });
    }
    open.map_or(Ok(()), each)
}
