//! What a guest may do and what it may not, at the level of single instructions.
//!
//! Guests run in this process, so that tests see the precise fault and not a report of it. Most of
//! them are the guest `run_code` with a few instructions that are written down in the test.

mod code;
mod machine;

mod changes;
mod cpuid;
mod escapes;
mod far;
mod flags;
mod forged;
mod ports;
mod privileged;
mod random;
mod regions;
mod reserve;
mod segments;
mod sent;
mod state;
mod system_registers;
mod tables;
