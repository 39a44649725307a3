//! Tests that boot guests, by the `coracle` command and by the library.
//!
//! All programs that they start lie in the directory that `CORACLE_TEST_DIR` names; `cargo xtask
//! test` builds and fills it. No test calls cargo, so that the directory can be carried elsewhere.

mod child;
mod holdings;
mod lane;
mod library;
mod not_run;
mod scratch;
mod support;

mod arguments;
mod backtraces;
mod bad_images;
mod calls;
mod commands;
mod confine;
mod console;
mod doctor;
mod documents;
mod examples;
mod faults;
mod handlers;
mod in_flight;
mod invoke;
mod kills;
mod libos;
mod many;
mod old_kernels;
mod place;
mod pool;
mod process;
mod process_parents;
mod readme;
mod reports;
mod rights;
mod serve;
mod signals;
mod snapshot;
mod snapshot_command;
mod soak;
mod starts;
mod statuses;
mod surroundings;
mod time;
mod timeouts;
mod variants;
