//! Whether this machine can run a VM.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

/// `_IO(KVMIO, 0x01)`, which makes a VM.
const KVM_CREATE_VM: libc::c_ulong = 0xae01;

/// Why no VM can be made here, or nothing when one was made.
pub(crate) fn missing() -> Option<String> {
    let kvm = match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(kvm) => kvm,
        Err(reason) => return Some(format!("opening /dev/kvm: {reason}")),
    };
    // SAFETY: the descriptor is open, and the request takes a machine type, not a pointer.
    let vm = unsafe { libc::ioctl(kvm.as_raw_fd(), KVM_CREATE_VM, 0) };
    if vm < 0 {
        return Some(format!("making a VM: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else knows it.
    unsafe { libc::close(vm) };
    None
}
