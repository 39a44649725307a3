//! Crash reports.

use crate::registers::Registers;

/// A fault that the CPU delivered.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The exception's number.
    pub vector: u8,
    /// Its error code, 0 where it has none.
    pub error_code: u64,
    /// The address that could not be accessed (CR2); means something for page faults only.
    pub address: u64,
    /// The guest's registers as the exception found them.
    pub registers: Registers,
}
