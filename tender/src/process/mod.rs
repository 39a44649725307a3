//! Machines that are processes: a child that has nothing but the guest's memory, stopped at each of its traps
//! (ptrace(2), seccomp(2)).
//!
//! | file | what it does |
//! |---|---|
//! | `host` | what a process needs once: the CPUID table |
//! | `machine` | one child that runs one guest |
//! | `exits` | from a stop of the child to what the guest has come out for |
//! | `registers` | the child's registers, and a vCPU's |
//! | `child` | how it is made, and what it gives up before the guest's first instruction |
//! | `foothold` | the one page in it that is not the guest's |
//! | `space` | what of the guest's memory lies where, by its page tables |
//! | `reserve` | memory that the guest is given in huge pages when it reaches for it |
//! | `place` | on which CPU it runs, and who traces it |
//! | `tracee` | the requests of ptrace(2), and system calls made in the child |
//! | `ports` | which port an instruction uses |
//! | `cpuid` | what `cpuid` answers where it traps |
//! | `trapping` | why it may trap in the tender too |
//! | `fault` | what the kernel tells of a fault |
//! | `watch` | which pages were written |

mod child;
mod cpuid;
mod exits;
mod fault;
mod foothold;
mod host;
mod machine;
mod place;
mod ports;
mod registers;
mod reserve;
mod space;
mod tracee;
mod trapping;
mod watch;

#[cfg(feature = "confine")]
pub(crate) use child::{ARCH_SET_CPUID, MAPPED, PER_LINUX};
#[cfg(feature = "confine")]
pub(crate) use foothold::{LENGTH as FOOTHOLD_LENGTH, START as FOOTHOLD_START};
pub use host::Host;
pub(crate) use machine::Machine;
pub(crate) use tracee::interrupt;
pub use trapping::let_cpuid_trap;
#[cfg(feature = "confine")]
pub(crate) use watch::{PAGEMAP_SCAN, UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT, USERFAULTFD};
