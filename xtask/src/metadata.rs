//! What cargo knows about a workspace.

use crate::shell::{Context, Failure, Result, cargo};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The part of `cargo metadata` that the tasks use.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it was got from; none for the repository's own.
    pub(crate) source: Option<String>,
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

impl Package {
    /// The names of its programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        let programs = self.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "bin"));
        programs.map(|target| target.name.as_str())
    }

    /// What its source says it is, in the first line.
    pub(crate) fn first_line(&self) -> Option<String> {
        let source = std::fs::read_to_string(&self.targets.first()?.src_path).ok()?;
        Some(source.lines().next()?.strip_prefix("//! ")?.to_owned())
    }
}

/// The packages of the workspace at `directory`.
pub(crate) fn members(directory: &Path) -> Result<Metadata> {
    read(directory, &["--no-deps"])
}

/// The packages of the workspace at `directory` and all that they depend on, whatever the platform.
pub(crate) fn everything(directory: &Path) -> Result<Metadata> {
    read(directory, &[])
}

fn read(directory: &Path, options: &[&str]) -> Result<Metadata> {
    let manifest = directory.join("Cargo.toml");
    if !manifest.exists() {
        return Err(Failure::new(format!("there is no {}", manifest.display())));
    }
    let metadata = cargo("metadata").args(["--format-version", "1"]).args(options);
    let json = metadata.arg("--manifest-path").arg(&manifest).quiet_output()?;
    serde_json::from_slice(&json).context(|| format!("what cargo says about {}", manifest.display()))
}
