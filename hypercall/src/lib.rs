//! The contract between a Coracle guest and the tender that runs it.
//!
//! Whoever wants to write another libos or another tender finds all that both sides must agree
//! on in this crate: nothing of it is repeated elsewhere.
//!
//! | module | what it fixes |
//! |---|---|
//! | [`version`] | the ABI version and when two versions fit together |
//! | [`call`] | how a guest calls out: the entry page, registers, call numbers, meaning of each call |
//! | [`error`] | what a refused call answers |
//! | [`memory`] | guest addresses, rights, page sizes, the memory map |
//! | [`boot`] | what the guest finds at its first instruction: registers, stack, boot information |
//! | [`clock`] | the clock page, from which time is read without a call |
//! | [`console`] | streams of the console |
//! | [`event`] | sources of events that a guest can wait for |
//! | [`invocation`] | one-shot execution: input, output, functions of the host |
//! | [`log`] | log records |
//! | [`mod@panic`] | the report of a panic |
//! | [`note`] | the ELF notes that make a program an image |
//! | [`exit`] | exit statuses |
//!
//! # Conventions
//!
//! - The machine is x86-64. Integers are little-endian. Addresses are guest-virtual and 64 bits wide.
//! - A structure is `repr(C)`, has no padding that is not a named reserved field, and its size and
//!   offsets are asserted at compile time. Reserved fields are written as zero and not read.
//! - The guest is not trusted. The tender copies a structure before it looks at it, checks every
//!   address range with overflow in mind, and never looks at guest memory twice for one decision.
//! - The tender is trusted by the guest, as hardware is.
#![no_std]
#![forbid(unsafe_code)]

pub mod boot;
pub mod call;
pub mod clock;
pub mod console;
pub mod error;
pub mod event;
pub mod exit;
pub mod invocation;
pub mod log;
pub mod memory;
pub mod note;
pub mod panic;
pub mod version;

/// Asserts at compile time the size of a structure of the contract and the offset of each field.
macro_rules! assert_layout {
    ($type:ty, size $size:literal, $($field:ident @ $offset:literal),+ $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)+
        };
    };
}
pub(crate) use assert_layout;
