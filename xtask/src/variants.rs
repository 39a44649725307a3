//! Examples, built in other ways than the usual ones: hello linked in every way that the tender takes,
//! and crash with line tables in a release build.

use crate::guests::EXAMPLES;
use crate::paths;
use crate::shell::{Result, cargo, line};
use crate::tender::TARGET;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A name and the flags that make it.
const VARIANTS: [(&str, &str); 5] = [
    ("fixed", "-Crelocation-model=static"),
    ("fixed-static", "-Crelocation-model=static -Ctarget-feature=+crt-static"),
    ("static-pie", "-Ctarget-feature=+crt-static"),
    ("packed", "-Ctarget-feature=+crt-static -Clink-arg=-Wl,-z,pack-relative-relocs"),
    ("gnu-ld", "-Clinker-features=-lld -Clink-self-contained=-linker -Clink-arg=-fuse-ld=bfd"),
];

/// Builds all variants and copies each to `directory/NAME`.
pub(crate) fn stage(directory: &Path) -> Result {
    paths::make(directory)?;
    let target = EXAMPLES.path().join("target/variants");
    for (name, flags) in VARIANTS {
        // With a platform named, the flags do not reach build scripts and procedural macros.
        let build = cargo("build").args(["--release", "--package", "hello", "--target", TARGET]);
        let build = build.arg("--manifest-path").arg(EXAMPLES.manifest());
        build.arg("--target-dir").arg(&target).env("RUSTFLAGS", flags).run()?;
        paths::copy(&target.join(TARGET).join("release/hello"), &directory.join(name))?;
    }
    with_lines(directory, &target)?;
    own_target(directory, &target)
}

/// crash in a release build that knows its source lines.
fn with_lines(directory: &Path, target: &Path) -> Result {
    let build = cargo("build").args(["--release", "--package", "crash", "--target", TARGET]);
    let build = build.arg("--manifest-path").arg(EXAMPLES.manifest());
    let build = build.arg("--target-dir").arg(target);
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").run()?;
    paths::copy(&target.join(TARGET).join("release/crash"), &directory.join("crash-with-lines"))
}

/// hello for the target of its own, where a toolchain with core's sources is at hand.
fn own_target(directory: &Path, target: &Path) -> Result {
    let Some(toolchain) = toolchain_with_sources() else {
        eprintln!("NOT BUILT: target-specs/: no toolchain here has core's sources");
        return Ok(());
    };
    let specs = paths::root().join("target-specs");
    let script = format!("-Clink-arg=-T{}", specs.join("image.ld").display());
    line(toolchain.join("bin/cargo"))
        .args(["build", "--release", "--package", "hello", "-Zjson-target-spec"])
        .args(["-Zbuild-std=core,alloc", "--target"])
        .arg(specs.join("x86_64-unknown-coracle.json"))
        .arg("--manifest-path")
        .arg(EXAMPLES.manifest())
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC", toolchain.join("bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", script)
        .run()?;
    let image = target.join("x86_64-unknown-coracle/release/hello");
    paths::copy(&image, &directory.join("target-spec"))
}

/// The first toolchain, of this cargo's, all of rustup's and the system's, that can build core.
fn toolchain_with_sources() -> Option<PathBuf> {
    let mut toolchains = vec![sysroot()?];
    if let Some(siblings) = toolchains.first().and_then(|own| own.parent()) {
        let siblings = std::fs::read_dir(siblings).into_iter().flatten().flatten();
        toolchains.extend(siblings.map(|entry| entry.path()));
    }
    toolchains.push(PathBuf::from("/usr"));
    toolchains.into_iter().find(|toolchain| {
        let sources = toolchain.join("lib/rustlib/src/rust/library/core/Cargo.toml");
        sources.exists() && toolchain.join("bin/rustc").exists() && toolchain.join("bin/cargo").exists()
    })
}

/// Where the toolchain in use lies.
fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
}
