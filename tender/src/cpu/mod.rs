//! What a vCPU needs to start at CPL 3.
//!
//! | file | what it makes |
//! |---|---|
//! | `descriptors` | GDT, IDT and TSS |
//! | `stub` | the code at CPL 0 |
//! | `entry` | the code of the entry page |
//! | `state` | control registers and segments |
//! | `saved` | what of it a program can change, as a snapshot keeps it |
//! | `cpuid` | the features that the guest sees |
//! | `features` | their names |

pub mod cpuid;
pub mod descriptors;
pub mod entry;
pub mod features;
pub mod saved;
pub mod state;
pub mod stub;

/// The port through which a guest makes a hypercall. The guest does not know it: the entry page does.
pub const HYPERCALL_PORT: u8 = 0x10;

/// The port through which the stub hands over a fault. What comes through it counts only when the
/// instruction pointer is in the stub, where no guest can run.
pub const FAULT_PORT: u8 = 0x11;
