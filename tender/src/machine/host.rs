//! What a process needs once, whatever its machines are.

use crate::cpu::cpuid::{CpuError, Features};
use crate::memory::{Memory, MemoryError};
use crate::snapshot::format::Cpuid;
use crate::{kvm, process};
use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use std::io;
#[cfg(feature = "command")]
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::str::FromStr;

/// What guests are run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// KVM where it starts a VM, else a process.
    #[default]
    Auto,
    /// A VM of KVM.
    Kvm,
    /// A process that has nothing but the guest's memory.
    Process,
}

impl Backend {
    /// All of them, by the names that they have on a command line.
    pub const NAMES: [(&str, Backend); 3] =
        [("auto", Backend::Auto), ("kvm", Backend::Kvm), ("process", Backend::Process)];

    /// The environment variable that chooses one for the commands.
    pub const VARIABLE: &str = "CORACLE_BACKEND";

    /// What that variable says, for programs that leave it to their user as the commands do; without it, what
    /// there is.
    ///
    /// # Errors
    /// When it names none.
    pub fn of_environment() -> Result<Backend, NoBackend> {
        match std::env::var_os(Backend::VARIABLE) {
            None => Ok(Backend::Auto),
            Some(name) => name.to_str().ok_or(NoBackend)?.parse(),
        }
    }
}

/// A name that no backend has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backend is one of kvm, process, auto")]
pub struct NoBackend;

impl FromStr for Backend {
    type Err = NoBackend;

    fn from_str(name: &str) -> Result<Backend, NoBackend> {
        let found = Backend::NAMES.into_iter().find(|(other, _)| *other == name);
        found.map(|(_, backend)| backend).ok_or(NoBackend)
    }
}

/// Why this process cannot run guests.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no /dev/kvm.
    #[error("there is no /dev/kvm: perhaps {0}; guests run without it by --backend process")]
    Absent(String),
    /// /dev/kvm may not be opened.
    #[error(transparent)]
    Denied(#[from] kvm::Denied),
    /// Another reason against opening it.
    #[error("cannot open /dev/kvm: {0}")]
    Open(io::Error),
    /// It can be opened, and makes no VM.
    #[error("KVM starts no VM: {0}")]
    NoVm(io::Error),
    /// The kernel's KVM is older than what the tender needs. Instances of snapshots need Linux 5.2, which is
    /// found out when one is made.
    #[error("this kernel's KVM lacks {0}: Linux 4.17 or newer is needed")]
    Old(&'static str),
    /// The CPU lacks something.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// What is the same for all machines of a process.
#[derive(Debug)]
pub enum Host {
    /// Machines are VMs of KVM.
    Kvm(kvm::Host),
    /// Machines are processes, children of this one: nobody else may wait for them ([pool](crate::pool#children)).
    Process(process::Host),
}

impl Host {
    /// Gets a backend ready. Only [`Backend::Auto`] ever takes another than KVM for it.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn open(backend: Backend) -> Result<Host, HostError> {
        match backend {
            Backend::Kvm => kvm::Host::open().map(Host::Kvm),
            Backend::Process => process::Host::open(None).map(Host::Process),
            Backend::Auto => match kvm::Host::open().and_then(kvm::Host::tried) {
                Ok(host) => Ok(Host::Kvm(host)),
                Err(HostError::Cpu(error)) => Err(error.into()),
                Err(error) => process::Host::open(Some(error)).map(Host::Process),
            },
        }
    }

    /// Why machines are not VMs of KVM, where [`Backend::Auto`] found that they cannot be.
    #[must_use]
    pub fn without_kvm(&self) -> Option<&HostError> {
        match self {
            Host::Kvm(_) => None,
            Host::Process(host) => host.without_kvm(),
        }
    }

    /// What runs guests: never `Auto`.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self {
            Host::Kvm(_) => Backend::Kvm,
            Host::Process(_) => Backend::Process,
        }
    }

    /// The file that is still read when calls are made in instances, if any: where guests are processes, the lists
    /// of their pages, in /proc.
    #[must_use]
    pub fn reads(&self) -> Option<&'static Path> {
        match self {
            Host::Kvm(_) => None,
            Host::Process(_) => Some(Path::new("/proc")),
        }
    }

    /// What it holds open.
    #[cfg(feature = "command")]
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Host::Kvm(host) => host.descriptors(),
            Host::Process(_) => Vec::new(),
        }
    }

    /// The name of what runs guests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Host::Kvm(_) => "kvm",
            Host::Process(_) => "process",
        }
    }

    /// The most memory, in bytes, that a machine can have here.
    #[must_use]
    pub fn most_memory(&self) -> u64 {
        match self {
            Host::Kvm(host) => host.most_memory(),
            Host::Process(host) => host.most_memory(),
        }
    }

    /// The most descriptors that an instance takes for longer than a moment.
    #[must_use]
    pub fn descriptors_per_instance(&self) -> u64 {
        match self {
            Host::Kvm(_) => kvm::Machine::DESCRIPTORS,
            Host::Process(_) => process::Machine::DESCRIPTORS,
        }
    }

    /// Memory of `size` bytes, a multiple of 2 MiB, that a machine can be made of.
    pub(crate) fn memory(&self, size: u64) -> Result<Memory, MemoryError> {
        match self {
            Host::Kvm(_) => Memory::new(size),
            Host::Process(_) => Memory::shared(size),
        }
    }

    /// Whether a machine's memory may be a mapping of a file of which every page that is written becomes a copy:
    /// else it has to be made by [`memory`](Self::memory).
    pub(crate) fn maps_privately(&self) -> bool {
        match self {
            Host::Kvm(_) => true,
            Host::Process(_) => false,
        }
    }

    /// The CPUID table that guests see, as a snapshot keeps it.
    pub(crate) fn cpuid_entries(&self) -> Vec<Cpuid> {
        let entry = |entry: &kvm_cpuid_entry2| Cpuid {
            leaf: entry.function,
            subleaf: entry.index,
            values: [entry.eax, entry.ebx, entry.ecx, entry.edx],
        };
        self.cpuid().as_slice().iter().map(entry).collect()
    }

    fn cpuid(&self) -> &CpuId {
        match self {
            Host::Kvm(host) => host.cpuid(),
            Host::Process(host) => host.cpuid(),
        }
    }

    /// What of the CPU the guest can use.
    #[must_use]
    pub fn features(&self) -> &Features {
        match self {
            Host::Kvm(host) => host.features(),
            Host::Process(host) => host.features(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Backend;

    #[test]
    fn backends_are_known_by_their_names() {
        assert_eq!("process".parse(), Ok(Backend::Process));
        assert!("hvt".parse::<Backend>().is_err());
    }
}
