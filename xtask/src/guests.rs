//! The workspaces of guest programs: examples, test guests, the bench's guest.
//!
//! Guests abort on panic and the tender does not, and Cargo takes profiles from a workspace's root
//! only. So each of these is a workspace of its own, with a target directory of its own.

use crate::metadata::{self, Package};
use crate::paths;
use crate::shell::{Result, cargo, line};
use std::path::{Path, PathBuf};

/// A workspace of guest programs, by its directory.
pub(crate) struct Guests {
    directory: &'static str,
}

/// The examples.
pub(crate) const EXAMPLES: Guests = Guests { directory: "examples" };
/// The programs that the tests run.
pub(crate) const TESTS: Guests = Guests { directory: "tender/tests/guests" };
/// The program that the bench runs.
pub(crate) const BENCH: Guests = Guests { directory: "xtask/bench-guest" };
/// All of them.
pub(crate) const ALL: [&Guests; 3] = [&EXAMPLES, &TESTS, &BENCH];

/// How a guest is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
    /// The release build without symbols and debug information.
    Stripped,
}

impl Profile {
    /// The name of the directory that holds such builds.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
            Profile::Stripped => "stripped",
        }
    }
}

impl Guests {
    /// The workspace's directory.
    pub(crate) fn path(&self) -> PathBuf {
        paths::root().join(self.directory)
    }

    /// The workspace's manifest.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.path().join("Cargo.toml")
    }

    /// The workspace's packages, by name.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        let mut packages = metadata::members(&self.path())?.packages;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }

    /// The names of all its programs.
    pub(crate) fn programs(&self) -> Result<Vec<String>> {
        let packages = self.packages()?;
        Ok(packages.iter().flat_map(Package::programs).map(str::to_owned).collect())
    }

    /// Builds all its programs.
    pub(crate) fn build(&self, profile: Profile) -> Result {
        self.build_only(profile, &[])
    }

    /// Builds one of its packages and returns the program of the same name.
    pub(crate) fn build_one(&self, profile: Profile, name: &str) -> Result<PathBuf> {
        self.build_only(profile, &["--package", name])?;
        if profile == Profile::Stripped {
            self.strip(name)?;
        }
        Ok(self.program(profile, name))
    }

    /// Makes the stripped copies of release builds that exist.
    pub(crate) fn strip_all(&self) -> Result {
        self.programs()?.iter().try_for_each(|name| self.strip(name))
    }

    /// Where a built program is.
    pub(crate) fn program(&self, profile: Profile, name: &str) -> PathBuf {
        self.path().join("target").join(profile.directory()).join(name)
    }

    /// Copies all built programs to `directory/PROFILE/NAME`.
    pub(crate) fn copy_to(&self, directory: &Path, profile: Profile) -> Result {
        self.programs()?.iter().try_for_each(|name| {
            paths::copy(&self.program(profile, name), &directory.join(profile.directory()).join(name))
        })
    }

    fn build_only(&self, profile: Profile, options: &[&str]) -> Result {
        let release = (profile != Profile::Debug).then_some("--release");
        cargo("build").args(release).arg("--manifest-path").arg(self.manifest()).args(options).run()
    }

    fn strip(&self, name: &str) -> Result {
        let stripped = self.program(Profile::Stripped, name);
        paths::make(&self.path().join("target").join(Profile::Stripped.directory()))?;
        line("strip").arg("-o").arg(stripped).arg(self.program(Profile::Release, name)).run()
    }
}
