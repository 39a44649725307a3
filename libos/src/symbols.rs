//! Symbols that the linker looks for by name.
//!
//! The precompiled `core` and `alloc` of the host's target call a few functions of the C library and
//! of the unwinder; some crates of that target call a few more. In an image they are these.

mod libc;
mod memory;
mod unwind;
