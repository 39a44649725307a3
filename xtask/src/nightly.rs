//! `cargo xtask nightly`: the long runs.

use crate::shell::Result;
use crate::{bench, lanes, test};
use std::ffi::OsString;

/// How often and how long tests try, where CI tries less. SPECIFICATION.md names these numbers.
const FULL_COUNTS: &[(&str, &str)] = &[
    ("CORACLE_PROPTEST_CASES", "100000"),
    // Calls of each test that makes random ones.
    ("CORACLE_FUZZ_CALLS", "1000000"),
    // All of them.
    ("CORACLE_PORTS", "65536"),
    // All that fit into 16 bits.
    ("CORACLE_SYSTEM_CALLS", "65536"),
    ("CORACLE_KILLS", "200"),
    ("CORACLE_STARTS", "1000"),
    ("CORACLE_SOAK_SECONDS", "600"),
    // Calls of a pool, one in twenty of which goes wrong.
    ("CORACLE_POOL_CALLS", "1000000"),
];

pub(crate) fn nightly() -> Result {
    let all = ["--", "--include-ignored"].map(OsString::from);
    let report = test::Report::default().everything_here(FULL_COUNTS, &all);
    lanes::ALL.into_iter().fold(report, |report, lane| report.on_if_installed(lane, &[])).end()?;
    bench::bench(&bench::Arguments::full())
}
