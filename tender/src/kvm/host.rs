//! What a process needs once.

use crate::cpu::cpuid::{self, Features};
use crate::machine::{HostError, MOST_MEMORY};
use kvm_bindings::CpuId;
use kvm_ioctls::{Kvm, VmFd};
use std::io;
#[cfg(feature = "command")]
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

/// The handle of KVM and what is the same for all VMs of a process.
#[derive(Debug)]
pub struct Host {
    pub(super) kvm: Kvm,
    pub(super) cpuid: CpuId,
    pub(super) features: Features,
    /// A VM that was made to find out whether that works: the first machine's.
    spare: Mutex<Option<VmFd>>,
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
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => HostError::Absent(super::absent()),
                Some(libc::EACCES | libc::EPERM) => HostError::Denied(super::Denied::look()),
                _ => HostError::Open(error),
            }
        })?;
        // The registers in the shared page are what each hypercall is read from. A KVM that shares them
        // (Linux 4.17) has `immediate_exit` too (KVM_CAP_IMMEDIATE_EXIT, 4.11).
        let shared = kvm.check_extension_int(kvm_ioctls::Cap::SyncRegs);
        let wanted = kvm_bindings::KVM_SYNC_X86_REGS
            | kvm_bindings::KVM_SYNC_X86_SREGS
            | kvm_bindings::KVM_SYNC_X86_EVENTS;
        if shared as u32 & wanted != wanted {
            return Err(HostError::Old("KVM_CAP_SYNC_REGS"));
        }
        let (cpuid, features) = cpuid::table()?;
        Ok(Host { kvm, cpuid, features, spare: Mutex::new(None) })
    }

    /// The same, once it has made a VM: some machines have a /dev/kvm that makes none.
    pub(crate) fn tried(self) -> Result<Host, HostError> {
        let vm = super::machine::create_vm(&self).map_err(|error| HostError::NoVm(error.into()))?;
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(vm);
        Ok(self)
    }

    /// What it holds open.
    #[cfg(feature = "command")]
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = spare.as_ref().map(AsRawFd::as_raw_fd);
        // SAFETY: KVM is open as long as this host is borrowed. So is the VM, unless a machine takes it, whose it
        // is then: who asks does so before there is one.
        [self.kvm.as_raw_fd()]
            .into_iter()
            .chain(spare)
            .map(|open| unsafe { BorrowedFd::borrow_raw(open) })
            .collect()
    }

    /// The VM that was made so, for one machine.
    pub(super) fn take_spare(&self) -> Option<VmFd> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The most memory, in bytes, that a machine can have here.
    #[must_use]
    pub fn most_memory(&self) -> u64 {
        most_memory(self.features.physical_bits)
    }

    /// The CPUID table that guests see.
    pub(crate) fn cpuid(&self) -> &CpuId {
        &self.cpuid
    }

    /// What of the CPU the guest can use.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }
}

/// What one slot holds and physical addresses of so many bits reach.
fn most_memory(physical_bits: u32) -> u64 {
    1_u64.checked_shl(physical_bits).unwrap_or(u64::MAX).min(MOST_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::most_memory;

    #[test]
    fn memory_ends_where_physical_addresses_do_or_a_slot_is_full() {
        assert_eq!(most_memory(36), 64 << 30);
        assert_eq!(most_memory(42), 4 << 40);
        for bits in [43, 46, 52, 64, 255] {
            assert_eq!(most_memory(bits), (8 << 40) - (2 << 20), "{bits} bits");
        }
    }
}
