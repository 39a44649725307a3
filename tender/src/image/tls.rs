//! Thread-local storage.

use super::error::Refusal;
use super::header::Header;
use super::segments::Segments;
use coracle_hypercall::memory::{PAGE, Rights};
use goblin::elf::program_header::PT_TLS;

/// The most thread-local storage for one thread.
const MOST: u64 = 1 << 30;

/// What each thread gets a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls {
    /// Where the template lies, as linked.
    pub address: u64,
    /// The bytes of the template.
    pub file_size: u64,
    /// The bytes that a thread needs; what follows the template is zero.
    pub size: u64,
    /// The alignment that it needs in bytes, a power of two.
    pub align: u64,
}

/// Finds and checks thread-local storage.
pub(super) fn read(header: &Header, segments: &Segments) -> Result<Option<Tls>, Refusal> {
    let Some(header) = header.of_type(PT_TLS).next() else { return Ok(None) };
    let (address, file_size, size) = (header.p_vaddr, header.p_filesz, header.p_memsz);
    let align = header.p_align.max(1);
    if align > PAGE || !align.is_power_of_two() {
        return Err(Refusal::TlsAlignment { align });
    }
    if file_size > size || size > MOST {
        return Err(Refusal::TlsSize { size, file_size });
    }
    let loaded =
        segments.holding(address, file_size).is_some_and(|segment| segment.rights.contains(Rights::READ));
    // Without a template there is nothing at the address.
    if file_size > 0 && !loaded {
        return Err(Refusal::TlsNotLoaded { address });
    }
    Ok(Some(Tls { address, file_size, size, align }))
}
