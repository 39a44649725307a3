//! The directory of programs that tests start, and test programs that can be carried elsewhere.
//!
//! ```text
//! coracle, coracle-serve                   the tender's commands
//! examples/{debug,release,stripped}/NAME   every example
//! guests/{debug,release}/NAME              every test guest
//! variants/NAME                            hello, linked in other ways
//! embedding/NAME                           the examples of programs that embed the library
//! tests/NAME                               the test programs    (only with --stage)
//! snapshots/NAME                           a snapshot that this machine has taken    (only for lanes)
//! run-tests                                a script that runs them    (only with --stage)
//! ```

use crate::guests::{EXAMPLES, Profile, TESTS};
use crate::paths;
use crate::shell::{Context, Failure, Result, cargo, line};
use crate::{kvm, tender, variants};
use serde::Deserialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Builds something that several runs of tests need, for the first of them.
pub(crate) fn once(done: &Once, build: impl FnOnce() -> Result) -> Result {
    if !done.is_completed() {
        build()?;
        done.call_once(|| {});
    }
    Ok(())
}

/// Builds the programs that tests start, and lays them out in `directory`.
pub(crate) fn images(directory: &Path) -> Result {
    let coracle = tender::build()?;
    for profile in [Profile::Debug, Profile::Release] {
        EXAMPLES.build(profile)?;
        TESTS.build(profile)?;
    }
    EXAMPLES.strip_all()?;

    paths::make_empty(directory)?;
    paths::copy(&coracle, &directory.join("coracle"))?;
    paths::copy(&tender::server(&coracle), &directory.join("coracle-serve"))?;
    for profile in [Profile::Debug, Profile::Release, Profile::Stripped] {
        EXAMPLES.copy_to(&directory.join("examples"), profile)?;
    }
    for profile in [Profile::Debug, Profile::Release] {
        TESTS.copy_to(&directory.join("guests"), profile)?;
    }
    tender::embedding(&directory.join("embedding"))?;
    variants::stage(&directory.join("variants"))
}

/// Lays out the same and the test programs themselves, linked statically, with a script to run them.
pub(crate) fn everything(directory: &Path) -> Result {
    let directory = std::path::absolute(directory).context(|| directory.display().to_string())?;
    if directory.exists() && !directory.join("run-tests").exists() {
        let empty = std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
        if !empty {
            let message = format!("{} exists and was not made by --stage: name another", directory.display());
            return Err(Failure::new(message));
        }
    }
    images(&directory)?;
    for (name, program) in test_programs(&[])? {
        paths::copy(&program, &directory.join("tests").join(name))?;
    }
    let script = directory.join("run-tests");
    paths::write(&script, include_str!("run-tests.sh"))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .context(|| format!("making {} executable", script.display()))?;

    println!("{} is ready: carry it to a machine and start run-tests there", directory.display());
    Ok(())
}

/// The program whose tests boot VMs, in `tests/`.
pub(crate) const VM: &str = "tender-vm";

/// Lays out what the tests need that boot VMs, and these, for an emulated machine: without the parts that
/// they do not use, since all of it is held in memory there, twice.
pub(crate) fn vm_tests(directory: &Path) -> Result {
    images(directory)?;
    let debug = directory.join("guests/debug");
    std::fs::remove_dir_all(&debug).context(|| debug.display().to_string())?;
    for (name, program) in test_programs(&["--test", "vm"])? {
        if name == VM {
            paths::copy(&program, &directory.join("tests").join(name))?;
        }
    }
    strip(&directory.join("tests").join(VM))?;
    snapshot(directory)?;
    let embedding = directory.join("embedding");
    let entries = std::fs::read_dir(&embedding).context(|| embedding.display().to_string())?;
    entries.flatten().try_for_each(|entry| strip(&entry.path()))
}

/// Takes a snapshot on this machine, where it can, for a test that another runs.
fn snapshot(directory: &Path) -> Result {
    let snapshots = directory.join("snapshots");
    paths::make_empty(&snapshots)?;
    if kvm::missing().is_some() {
        return Ok(());
    }
    let command = line(directory.join("coracle")).args(["snapshot", "--quiet", "--mem", "8M", "-o"]);
    command.arg(snapshots.join("handler-echo")).arg(directory.join("examples/release/handler-echo")).run()
}

/// Takes the debug information out of a program.
fn strip(program: &Path) -> Result {
    line("strip").arg("--strip-debug").arg(program).run()
}

/// A line of cargo's report, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<crate::metadata::Target>,
    package_id: Option<String>,
    profile: Option<BuildProfile>,
}

/// How a program was built.
#[derive(Deserialize)]
struct BuildProfile {
    /// As a test program. What tests start is built too.
    test: bool,
}

/// Builds all test programs and returns them by name. Those of procedural macros stay behind: they
/// are linked with the compiler's own libraries.
fn test_programs(options: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let build = tender::statically(cargo("test").args(["--workspace", "--no-run"]).args(options));
    let report = build.arg("--message-format=json-render-diagnostics").output()?;
    let mut programs = Vec::new();
    for line in report.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Message = serde_json::from_slice(line).context(|| "cargo's report".to_owned())?;
        let Message {
            executable: Some(program),
            target: Some(target),
            package_id: Some(id),
            profile: Some(BuildProfile { test: true }),
        } = message
        else {
            continue;
        };
        if target.kind.iter().any(|kind| kind == "proc-macro") {
            continue;
        }
        programs.push((format!("{}-{}", folder(&id), target.name), program));
    }
    Ok(programs)
}

/// The folder of a package, from an identifier such as `path+file:///…/tender#coracle-tender@0.1.0`.
fn folder(package_id: &str) -> &str {
    let path = package_id.split('#').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn a_package_is_named_after_its_folder() {
        assert_eq!(folder("path+file:///home/a/coracle/tender#coracle-tender@0.1.0"), "tender");
        assert_eq!(folder("path+file:///home/a/coracle/xtask#0.1.0"), "xtask");
    }
}
