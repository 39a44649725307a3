//! What is loaded where: the `PT_LOAD` segments.

use super::Kind;
use super::error::Refusal;
use super::header::Header;
use super::source::Source;
use crate::layout::{Extent, LOWEST_IMAGE};
use coracle_hypercall::memory::{PAGE, Rights};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_LOAD};
use goblin::elf64::program_header::ProgramHeader;

/// A guest's memory ends here.
const HIGHEST: u64 = 1 << 46;

/// The most bytes from the lowest to the highest page.
const LARGEST_SPAN: u64 = 1 << 40;

/// The greatest alignment of a segment.
const GREATEST_ALIGN: u64 = 1 << 30;

/// A part of the image in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) file_offset: u64,
    /// What follows in memory is zero.
    pub(super) file_size: u64,
    pub(super) rights: Rights,
}

impl Segment {
    /// The address after its last byte, which is checked not to overflow.
    pub(super) fn end(&self) -> u64 {
        self.address + self.size
    }

    /// Checks one segment for itself.
    fn new(header: &ProgramHeader, source: &Source<'_>) -> Result<Segment, Refusal> {
        let address = header.p_vaddr;
        let align = header.p_align;
        if align > GREATEST_ALIGN || (align != 0 && !align.is_power_of_two()) {
            return Err(Refusal::Alignment { address, align });
        }
        if header.p_filesz > header.p_memsz {
            return Err(Refusal::FileLargerThanMemory { address });
        }
        let end = address.checked_add(header.p_memsz).ok_or(Refusal::SegmentOverflow { address })?;
        if end > HIGHEST {
            return Err(Refusal::TooHigh { end });
        }
        source.check("loaded part", header.p_offset, header.p_filesz)?;
        let rights = rights(header.p_flags);
        if rights.contains(Rights::WRITE | Rights::EXECUTE) {
            return Err(Refusal::WritableAndExecutable { address });
        }
        Ok(Segment {
            address,
            size: header.p_memsz,
            file_offset: header.p_offset,
            file_size: header.p_filesz,
            rights,
        })
    }
}

/// All segments that take memory, by ascending address.
pub(super) struct Segments {
    list: Vec<Segment>,
    pub(super) span: Extent,
    /// What the image's place must be a multiple of.
    pub(super) align: u64,
}

impl Segments {
    pub(super) fn read(source: &Source<'_>, header: &Header) -> Result<Segments, Refusal> {
        let mut list = Vec::new();
        let mut align = PAGE;
        for program_header in header.of_type(PT_LOAD) {
            let segment = Segment::new(program_header, source)?;
            if segment.size > 0 {
                align = align.max(program_header.p_align);
                list.push(segment);
            }
        }
        list.sort_by_key(|segment| segment.address);
        for pair in list.windows(2) {
            if let [first, second] = pair
                && first.end() > second.address
            {
                return Err(Refusal::Overlap { first: first.address, second: second.address });
            }
        }
        let (Some(first), Some(last)) = (list.first(), list.last()) else {
            return Err(Refusal::NoSegments);
        };
        if header.kind == Kind::Fixed && first.address < LOWEST_IMAGE {
            return Err(Refusal::TooLow { address: first.address });
        }
        let start = page_down(first.address);
        let span = Extent { start, length: page_up(last.end()) - start };
        if span.length > LARGEST_SPAN {
            return Err(Refusal::SpanTooLarge { span: span.length });
        }
        Ok(Segments { list, span, align })
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Segment> {
        self.list.iter()
    }

    /// The segment that wholly holds a run of bytes.
    pub(super) fn holding(&self, address: u64, length: u64) -> Option<&Segment> {
        let above = self.list.partition_point(|segment| segment.address <= address);
        let segment = self.list.get(above.checked_sub(1)?)?;
        let end = address.checked_add(length)?;
        (address < segment.end() && end <= segment.end()).then_some(segment)
    }

    /// Where in the file a run of loaded bytes comes from.
    pub(super) fn file_offset(&self, address: u64, length: u64) -> Option<u64> {
        let segment = self.holding(address, length)?;
        let inside = address - segment.address;
        if inside.checked_add(length)? > segment.file_size {
            return None;
        }
        segment.file_offset.checked_add(inside)
    }

    /// Where a run of the file's bytes is loaded to, for reading.
    pub(super) fn address_of(&self, offset: u64, length: u64) -> Option<u64> {
        self.list.iter().filter(|segment| segment.rights.contains(Rights::READ)).find_map(|segment| {
            let inside = offset.checked_sub(segment.file_offset)?;
            let whole = inside.checked_add(length)? <= segment.file_size;
            whole.then_some(segment.address + inside)
        })
    }

    /// Whether the program starts in code.
    pub(super) fn check_entry(&self, entry: u64) -> Result<(), Refusal> {
        match self.holding(entry, 1) {
            Some(segment) if segment.rights.contains(Rights::EXECUTE) => Ok(()),
            _ => Err(Refusal::EntryNotExecutable { entry }),
        }
    }
}

/// Refuses a program that wants to execute its stack.
pub(super) fn check_stack(header: &Header) -> Result<(), Refusal> {
    let executable = header.of_type(PT_GNU_STACK).any(|stack| stack.p_flags & PF_X != 0);
    if executable { Err(Refusal::ExecutableStack) } else { Ok(()) }
}

/// What flags of a program header allow. What may be written or executed may be read too: x86 has
/// no pages for which that is not so.
pub(super) fn rights(flags: u32) -> Rights {
    let mut rights = Rights::empty();
    for (flag, right) in
        [(PF_R, Rights::READ), (PF_W, Rights::READ | Rights::WRITE), (PF_X, Rights::READ | Rights::EXECUTE)]
    {
        if flags & flag != 0 {
            rights |= right;
        }
    }
    rights
}

/// The start of the page that holds an address.
pub(super) fn page_down(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// The start of the next page, or the address itself when it starts one. The address is at most
/// [`HIGHEST`].
pub(super) fn page_up(address: u64) -> u64 {
    page_down(address + (PAGE - 1))
}
