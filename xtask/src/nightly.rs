//! `cargo xtask nightly`: the long runs.

use crate::shell::Result;
use crate::{bench, test};
use std::ffi::OsString;

/// How often tests with random input try, where CI tries less.
const FULL_COUNTS: &[(&str, &str)] = &[
    ("CORACLE_PROPTEST_CASES", "100000"),
    ("CORACLE_FUZZ_CALLS", "1000000"),
    ("CORACLE_SOAK_SECONDS", "600"),
];

pub(crate) fn nightly() -> Result {
    test::run(FULL_COUNTS, &["--release", "--", "--include-ignored"].map(OsString::from))?;
    bench::bench(&bench::Arguments::full())
}
