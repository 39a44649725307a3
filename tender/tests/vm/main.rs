//! Tests that boot guests, by the `coracle` command and by the library.
//!
//! All programs that they start lie in the directory that `CORACLE_TEST_DIR` names; `cargo xtask
//! test` builds and fills it. No test calls cargo, so that the directory can be carried elsewhere.

mod support;

mod rights;
mod timeouts;
