//! KVM's log of written pages (Documentation/virt/kvm/api.rst, `KVM_GET_DIRTY_LOG`,
//! `KVM_CLEAR_DIRTY_LOG`, `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`).
//!
//! Linux 5.2 has it. With manual protection, asking for the log changes nothing: a page that was written once stays
//! writable and listed until it is given up, and writing it costs no fault meanwhile.

use coracle_hypercall::memory::PAGE;
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVMIO, kvm_clear_dirty_log,
    kvm_dirty_log, kvm_enable_cap,
};
use kvm_ioctls::VmFd;
use std::io;
use std::os::fd::AsRawFd;

const KVM_GET_DIRTY_LOG: libc::Ioctl = libc::_IOW::<kvm_dirty_log>(KVMIO, 0x42);
const KVM_CLEAR_DIRTY_LOG: libc::Ioctl = libc::_IOWR::<kvm_clear_dirty_log>(KVMIO, 0xc0);

/// Asks for manual protection.
pub(super) fn log_manually(vm: &VmFd) -> io::Result<()> {
    let mut capability =
        kvm_enable_cap { cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, ..kvm_enable_cap::default() };
    if let Some(first) = capability.args.first_mut() {
        *first = u64::from(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    }
    Ok(vm.enable_cap(&capability)?)
}

/// Fills in a bit for each page of the slot, which has at most as many pages as there are bits.
pub(super) fn pages(vm: &VmFd, slot: u32, bits: &mut [u64]) -> io::Result<()> {
    let mut request = kvm_dirty_log { slot, ..kvm_dirty_log::default() };
    request.__bindgen_anon_1.dirty_bitmap = bits.as_mut_ptr().cast();
    // SAFETY: KVM fills the bits of the slot's pages, rounded up to whole words, and there are so many.
    match unsafe { libc::ioctl(vm.as_raw_fd(), KVM_GET_DIRTY_LOG, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lists and protects anew the pages whose bits are set, the first of which is for the page
/// `64 × first_word` of a slot of `size` bytes.
pub(super) fn watch_again(
    vm: &VmFd,
    slot: u32,
    size: u64,
    first_word: usize,
    bits: &[u64],
) -> io::Result<()> {
    let first_page = first_word as u64 * 64;
    let left = (size / PAGE).saturating_sub(first_page);
    let mut request = kvm_clear_dirty_log {
        slot,
        num_pages: left.min(bits.len() as u64 * 64) as u32,
        first_page,
        ..kvm_clear_dirty_log::default()
    };
    request.__bindgen_anon_1.dirty_bitmap = bits.as_ptr().cast_mut().cast();
    // SAFETY: KVM reads a bit for each of the pages, and there are so many.
    match unsafe { libc::ioctl(vm.as_raw_fd(), KVM_CLEAR_DIRTY_LOG, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
