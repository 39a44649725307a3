//! The host side of Coracle.

pub mod calls;
#[cfg(feature = "confine")]
pub mod confine;
pub mod cpu;
pub mod guest;
pub mod image;
pub mod instance;
pub mod kvm;
pub mod layout;
pub mod machine;
pub mod memory;
pub mod paging;
pub mod pool;
pub mod probe;
pub mod process;
pub mod registers;
pub mod report;
pub mod runnable;
#[cfg(feature = "command")]
pub mod serve;
pub mod snapshot;
pub mod text;

mod forks;
mod timespec;
