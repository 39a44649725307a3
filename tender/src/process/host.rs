//! What a process needs once.

use super::child;
use crate::cpu::cpuid::{self, CpuError, Features};
use crate::machine::{HostError, MOST_MEMORY};
use kvm_bindings::CpuId;
use std::sync::Arc;

/// What is the same for all guests of a process.
#[derive(Debug)]
pub struct Host {
    pub(super) cpuid: Arc<CpuId>,
    pub(super) features: Features,
    without_kvm: Option<HostError>,
}

impl Host {
    /// Finds out what the CPU has. `without_kvm` is why there is to be no VM, if that is the reason.
    ///
    /// # Errors
    /// When it lacks something that every guest needs, or the kernel keeps it back.
    pub(crate) fn open(without_kvm: Option<HostError>) -> Result<Host, HostError> {
        /// HWCAP2_FSGSBASE (Linux, arch/x86/include/uapi/asm/hwcap2.h).
        const FSGSBASE: libc::c_ulong = 1 << 1;
        let (cpuid, features) = cpuid::table()?;
        // SAFETY: the call takes a number alone.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE == 0 {
            return Err(
                CpuError::Missing("FSGSBASE that programs may use (Linux 5.9 and newer let them)").into()
            );
        }
        Ok(Host { cpuid: Arc::new(cpuid), features, without_kvm })
    }

    pub(crate) fn without_kvm(&self) -> Option<&HostError> {
        self.without_kvm.as_ref()
    }

    /// The CPUID table that a guest sees where [`cpuid_is_hidden`](Self::cpuid_is_hidden).
    pub(crate) fn cpuid(&self) -> &CpuId {
        &self.cpuid
    }

    /// Whether the CPU lets the tender decide what `cpuid` shows (`cpuid_fault` in /proc/cpuinfo, and a kernel
    /// that lets programs use it).
    #[must_use]
    pub fn cpuid_is_hidden() -> bool {
        const SHOWN: libc::c_long = 1;
        // SAFETY: the call takes numbers alone, and changes nothing: no thread of ours has it trap.
        unsafe { libc::syscall(libc::SYS_arch_prctl, child::ARCH_SET_CPUID, SHOWN) == 0 }
    }

    /// The most memory, in bytes, that a guest can have.
    #[must_use]
    pub fn most_memory(&self) -> u64 {
        MOST_MEMORY
    }

    /// What of the CPU the guest can use.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }
}
