//! Exit statuses.
//!
//! A guest that ends by itself ends with the status it gives. The others follow what `timeout`,
//! `env`, shells and container runtimes use: 128 plus the number of the Unix signal that a process
//! would have died of.

/// A Rust panic in the guest.
pub const PANIC: u8 = 101;
/// The deadline passed.
pub const TIMEOUT: u8 = 124;
/// The tender could not start the guest, or had to give it up for a reason that is not the guest's.
pub const TENDER: u8 = 125;
/// Interrupted by the user (SIGINT).
pub const INTERRUPT: u8 = 130;
/// An instruction that the CPU does not know, or that the guest may not execute (SIGILL).
pub const ILLEGAL_INSTRUCTION: u8 = 132;
/// A breakpoint or single step that nobody handles (SIGTRAP).
pub const TRAP: u8 = 133;
/// A division by zero or with overflow, or an unmasked floating-point exception (SIGFPE).
pub const ARITHMETIC: u8 = 136;
/// A bad memory access, a stack overflow, a jump to where there is no code (SIGSEGV).
pub const BAD_ACCESS: u8 = 139;
/// Output to a stream whose reader is gone (SIGPIPE).
pub const CLOSED_OUTPUT: u8 = 141;
/// Asked to end (SIGTERM).
pub const TERMINATE: u8 = 143;
