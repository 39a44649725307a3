//! The `coracle` command.

use crate::paths;
use crate::shell::{Line, Result, cargo};
use std::path::{Path, PathBuf};

/// The platform that host programs are built for when they are linked statically. It is named
/// even though it is the usual one, because Cargo then keeps the flags below away from build
/// scripts and procedural macros.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The examples in `tender/examples/`.
const EMBEDDING: [&str; 2] = ["expressions", "plugins"];

/// Builds `coracle` and returns where it is.
///
/// It is linked statically, and so runs on any Linux and starts sooner: a program that prints a line
/// takes 0.7 of the time of the same program linked dynamically, from start to reaped.
pub(crate) fn build() -> Result<PathBuf> {
    statically(cargo("build").args(["--release", "--package", "coracle-tender"])).run()?;
    Ok(paths::target().join(TARGET).join("release/coracle"))
}

/// Builds the examples of programs that embed the library, and copies each to `directory/NAME`. They are
/// linked statically, so that they can be carried to another machine.
pub(crate) fn embedding(directory: &Path) -> Result {
    statically(cargo("build").args(["--package", "coracle-tender", "--examples"])).run()?;
    let built = paths::target().join(TARGET).join("debug/examples");
    EMBEDDING.iter().try_for_each(|name| paths::copy(&built.join(name), &directory.join(name)))
}

/// Builds the first program of a lane's machine and returns where it is.
pub(crate) fn lane_init() -> Result<PathBuf> {
    statically(cargo("build").args(["--quiet", "--release", "--package", "lane-init"])).run()?;
    Ok(paths::target().join(TARGET).join("release/lane-init"))
}

/// The server that `coracle serve` executes, which is built and lies with it.
pub(crate) fn server(coracle: &Path) -> PathBuf {
    coracle.with_file_name("coracle-serve")
}

/// Adds to a cargo command what makes it link statically.
pub(crate) fn statically(cargo: Line) -> Line {
    let flags = format!("target.{TARGET}.rustflags=[\"-Ctarget-feature=+crt-static\"]");
    cargo.args(["--target", TARGET, "--config", &flags])
}
