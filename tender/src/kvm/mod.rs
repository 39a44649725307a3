//! Machines that are VMs: the only part that talks to KVM (Linux, Documentation/virt/kvm/api.rst).
//!
//! | file | what it does |
//! |---|---|
//! | `host` | what a process needs once: the handle and the CPUID table |
//! | `device` | why it cannot be opened, in words |
//! | `machine` | one VM with one vCPU |
//! | `dirty` | which pages the guest has written |
//! | `statistics` | what KVM counted by itself |

mod device;
mod dirty;
mod host;
mod machine;
mod statistics;

pub use device::Denied;
pub(crate) use device::absent;
pub use host::Host;
pub(crate) use host::LARGEST_SLOT;
pub(crate) use machine::Machine;
pub use statistics::KvmStatistics;
