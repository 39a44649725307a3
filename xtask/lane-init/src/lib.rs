//! What `cargo xtask test --on` and the machine that it boots tell each other.
//!
//! The machine finds its [`Plan`] as a file, and writes an [`Event`] per line, in JSON, to its first
//! serial port.

use serde::{Deserialize, Serialize};

/// Where the machine finds its plan.
pub const PLAN: &str = "/lane/plan";

/// What the machine is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The lane's name.
    pub lane: String,
    /// The modules that make up KVM, each after those that it needs.
    pub modules: Vec<Module>,
    /// The directory that `cargo xtask test --stage` made.
    pub stage: String,
    /// The test program, in that directory.
    pub program: String,
    /// The tests to run, in this order.
    pub tests: Vec<String>,
    /// Variables for tests.
    pub variables: Vec<(String, String)>,
    /// How many seconds of the machine's own time a test may take.
    pub limit: u64,
}

/// A module of the kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Module {
    /// Its file in the machine.
    pub file: String,
    /// Its parameters, as `insmod` takes them.
    pub parameters: String,
}

/// What the machine tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// KVM is there: the kernel and what decides how KVM works.
    Ready(String),
    /// A test begins.
    Begin(String),
    /// The test that began tries less than elsewhere.
    Fewer(String),
    /// The test that began has ended.
    End(Outcome),
    /// All tests have ended. Complaints of the kernel are the argument.
    Done(Vec<String>),
    /// The machine cannot run tests.
    Broken(String),
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed, and this is the end of what it wrote.
    Failed(String),
    /// It did not run, for this reason.
    NotRun(String),
}
