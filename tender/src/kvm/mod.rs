//! Machines that are VMs: the only part that talks to KVM (Linux, Documentation/virt/kvm/api.rst).
//!
//! | file | what it does |
//! |---|---|
//! | `host` | what a process needs once: the handle and the CPUID table |
//! | `device` | why it cannot be opened, in words |
//! | `machine` | one VM with one vCPU |
//! | `dirty` | which pages the guest has written |
//! | `counters` | what KVM counted by itself |

mod counters;
mod device;
mod dirty;
mod host;
mod machine;

pub use device::Denied;
pub(crate) use device::absent;
pub use host::Host;
pub(crate) use machine::Machine;
