//! `cargo xtask ci`: what CI runs, in the order in which a mistake is found soonest, except that
//! the tests come last, so that a log ends with their results.

use crate::guests;
use crate::here::Backend;
use crate::lanes::Lane;
use crate::not_run::shout;
use crate::shell::{Result, cargo};
use crate::test::Report;
use crate::{bench, licences};
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) fn ci() -> Result {
    let begin = Instant::now();
    step("format", format)?;
    step("lints", lints)?;
    step("documentation", documentation)?;
    step("licences", licences::check)?;
    step("advisories", advisories)?;
    step("bench, for its own sake", short_bench)?;
    step("tests", tests)?;
    eprintln!("\n── all passed in {} s", begin.elapsed().as_secs());
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result) -> Result {
    eprintln!("\n── {name}");
    let begin = Instant::now();
    run()?;
    eprintln!("── {name}: passed in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// What has to be right under every KVM: starting, rights, faults, hostile hypercalls, reset. The rest of
/// the lanes is for nightly.
const ON_LANES: [&str; 16] = [
    "variants::",
    "statuses::",
    "rights::changes",
    "rights::flags",
    "rights::forged",
    "rights::ports::reading",
    "rights::privileged",
    "rights::regions",
    "rights::segments",
    "rights::system_registers",
    "rights::tables",
    "faults::",
    "calls::",
    "snapshot::traces",
    // They are about processes.
    "--skip",
    "rights::escapes",
];

/// All tests here, and some on a lane of each maker.
fn tests() -> Result {
    let some = ON_LANES.map(OsString::from);
    let here = Report::default().everything_here(&[], &[]);
    let lanes = [Lane::AmdV, Lane::VtX];
    lanes.into_iter().fold(here, |report, lane| report.on_if_installed(lane, &some)).end()
}

fn format() -> Result {
    cargo("fmt").args(["--all", "--check"]).run()?;
    guests::ALL.iter().try_for_each(|guests| {
        cargo("fmt").args(["--all", "--check", "--manifest-path"]).arg(guests.manifest()).run()
    })
}

fn lints() -> Result {
    let strict = ["--", "-D", "warnings"];
    cargo("clippy").args(["--workspace", "--all-targets", "--all-features"]).args(strict).run()?;
    // As those have it who embed it.
    let library = ["--package", "coracle-tender", "--lib", "--no-default-features"];
    cargo("clippy").args(library).args(strict).run()?;
    guests::ALL.iter().try_for_each(|guests| {
        cargo("clippy").arg("--manifest-path").arg(guests.manifest()).args(strict).run()
    })
}

fn documentation() -> Result {
    cargo("doc").args(["--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "-D warnings").run()
}

/// Looks for known holes in dependencies where a tool for it and its data are at hand: this never
/// reaches for the network.
fn advisories() -> Result {
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| Some(std::path::Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    let has = |data: &str| home.as_ref().is_some_and(|home| home.join(data).exists());
    if installed("cargo-deny") && has("advisory-dbs") {
        cargo("deny").args(["--offline", "check", "advisories"]).run()
    } else if installed("cargo-audit") && has("advisory-db") {
        cargo("audit").args(["--no-fetch", "--deny", "warnings"]).run()
    } else {
        eprintln!("NOT RUN: needs cargo-deny or cargo-audit, and its database on this machine");
        Ok(())
    }
}

fn installed(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Shows that the bench still works, where there is no KVM with processes alone. Its numbers mean little on a shared
/// machine, and fail nothing.
fn short_bench() -> Result {
    if let Some(reason) = Backend::Kvm.missing() {
        shout(&[format!("NOT RUN: rows of VMs: {reason}")]);
    }
    bench::bench(&bench::Arguments::quick())
}
