//! What a process needs once.

use crate::cpu::cpuid::{self, CpuError, Features};
use kvm_bindings::CpuId;
use kvm_ioctls::Kvm;
use std::io;

/// Why this process cannot use KVM.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no /dev/kvm.
    #[error(
        "there is no /dev/kvm: this kernel has no KVM, or its module is not loaded \
             (modprobe kvm_intel or kvm_amd; in a cloud machine, nested virtualisation must be on)"
    )]
    Absent,
    /// /dev/kvm may not be opened.
    #[error(
        "may not open /dev/kvm: add yourself to its group (sudo usermod -aG kvm $USER, then log in again)"
    )]
    Denied,
    /// Another reason against opening it.
    #[error("cannot open /dev/kvm: {0}")]
    Open(io::Error),
    /// The kernel's KVM is older than what the tender needs.
    #[error("this kernel's KVM lacks {0}: Linux 4.17 or newer is needed")]
    Old(&'static str),
    /// The CPU lacks something.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// The handle of KVM and what is the same for all VMs of a process.
#[derive(Debug)]
pub struct Host {
    pub(super) kvm: Kvm,
    pub(super) cpuid: CpuId,
    pub(super) features: Features,
}

impl Host {
    /// Opens KVM.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn open() -> Result<Host, HostError> {
        let kvm = Kvm::new().map_err(|error| {
            let error = io::Error::from(error);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => HostError::Absent,
                Some(libc::EACCES | libc::EPERM) => HostError::Denied,
                _ => HostError::Open(error),
            }
        })?;
        // The registers in the shared page are what each hypercall is read from.
        let shared = kvm.check_extension_int(kvm_ioctls::Cap::SyncRegs);
        let wanted = kvm_bindings::KVM_SYNC_X86_REGS | kvm_bindings::KVM_SYNC_X86_SREGS;
        if shared as u32 & wanted != wanted {
            return Err(HostError::Old("KVM_CAP_SYNC_REGS"));
        }
        let (cpuid, features) = cpuid::table()?;
        Ok(Host { kvm, cpuid, features })
    }

    /// What of the CPU the guest can use.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }
}
