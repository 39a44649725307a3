//! The only part that talks to KVM (Linux, Documentation/virt/kvm/api.rst).
//!
//! | file | what it does |
//! |---|---|
//! | `host` | what a process needs once: the handle and the CPUID table |
//! | `machine` | one VM with one vCPU |
//! | `exit` | why a vCPU came back |
//! | `kick` | how a vCPU is made to come back |
//! | `signals` | a time without signals for a thread |
//! | `dirty` | which pages the guest has written |
//! | `statistics` | what KVM counted by itself |

mod dirty;
mod exit;
mod host;
mod kick;
mod machine;
mod signals;
mod statistics;

pub use exit::{Dead, Exit};
pub use host::{Host, HostError};
pub use kick::{Kicker, Reachable, kick_signal};
pub(crate) use signals::Undisturbed;

pub use machine::{Machine, MachineError, Start, Tables};
pub use statistics::KvmStatistics;
