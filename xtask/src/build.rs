//! `cargo xtask build`: the tender and the examples.

use crate::guests::{EXAMPLES, Profile};
use crate::shell::Result;
use crate::{paths, tender};

pub(crate) fn build() -> Result {
    let coracle = tender::build()?;
    EXAMPLES.build(Profile::Debug)?;
    EXAMPLES.build(Profile::Release)?;
    EXAMPLES.strip_all()?;

    // An image that Linux starts looks for the tender here, so `cargo run` in examples/ works.
    paths::copy(&coracle, &EXAMPLES.path().join("target/coracle"))?;

    eprintln!();
    println!("{}", shown(&coracle));
    for profile in [Profile::Debug, Profile::Release, Profile::Stripped] {
        for name in EXAMPLES.programs()? {
            println!("{}", shown(&EXAMPLES.program(profile, &name)));
        }
    }
    Ok(())
}

/// A built file and its size.
fn shown(file: &std::path::Path) -> String {
    let size = std::fs::metadata(file).map_or(0, |data| data.len());
    let path = file.strip_prefix(paths::root()).unwrap_or(file);
    format!("{:>9.1} KiB  {}", size as f64 / 1024.0, path.display())
}
