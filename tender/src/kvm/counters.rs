//! What KVM counted by itself, from its binary statistics descriptors (api.rst, section 4.133,
//! KVM_GET_STATS_FD).

use crate::machine::Counters;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// `_IO(KVMIO, 0xce)`.
const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;

/// The bytes of a descriptor before its name.
const DESCRIPTOR: usize = 16;

/// Bounds on what a header may say, far above what any kernel has.
const MAX_DESCRIPTORS: u32 = 4096;
const MAX_NAME: u32 = 256;

/// KVM's own counters of one machine: those of the vCPU, such as `exits` and `insn_emulation`, and those of the VM,
/// such as `pages_4k`. Histograms are left out.
pub(super) fn read(vm: &impl AsRawFd, vcpu: &impl AsRawFd) -> io::Result<Counters> {
    Ok(Counters::from([("vcpu", read_all(vcpu)?), ("vm", read_all(vm)?)]))
}

fn read_all(of: &impl AsRawFd) -> io::Result<BTreeMap<String, u64>> {
    // SAFETY: the ioctl takes no argument and gives a new descriptor or an error.
    let descriptor = unsafe { libc::ioctl(of.as_raw_fd(), KVM_GET_STATS_FD, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(descriptor) };
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0)?;
    let [_, name_size, count, _, descriptors, data] = words(&header);
    if count > MAX_DESCRIPTORS || name_size > MAX_NAME {
        return Err(io::Error::other("the kernel's statistics have an unknown format"));
    }
    let stride = DESCRIPTOR + name_size as usize;
    let mut table = vec![0; stride * count as usize];
    file.read_exact_at(&mut table, u64::from(descriptors))?;
    let mut found = BTreeMap::new();
    for entry in table.chunks_exact(stride) {
        let (fixed, name) = entry.split_at(DESCRIPTOR);
        let [_, exponent_and_size, offset, _] = words::<4>(fixed);
        let is_single = exponent_and_size >> 16 == 1;
        if !is_single {
            continue;
        }
        let mut value = [0; 8];
        file.read_exact_at(&mut value, u64::from(data) + u64::from(offset))?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        found.insert(String::from_utf8_lossy(name).into_owned(), u64::from_ne_bytes(value));
    }
    Ok(found)
}

/// The first 32-bit words of some bytes; missing ones are zero.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_ne_bytes);
    }
    words
}
