//! The attribute macros of the `coracle` crate.
