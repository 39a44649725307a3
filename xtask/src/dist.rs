//! `cargo xtask dist`: the commands `coracle` and `coracle-serve` to give away.
//!
//! ```text
//! target/dist/coracle-VERSION-x86_64-linux/    coracle, coracle-serve, completions/, man/, licences
//! target/dist/coracle-VERSION-x86_64-linux.tar.gz
//! target/dist/SHA256SUMS
//! ```

use crate::paths;
use crate::shell::{Result, line};
use crate::tender;
use std::path::Path;

/// The shells that completions are made for, and the names by which these look for them.
const SHELLS: [(&str, &str); 3] = [("bash", "coracle.bash"), ("zsh", "_coracle"), ("fish", "coracle.fish")];

pub(crate) fn dist() -> Result {
    let coracle = tender::build()?;
    let dist = paths::target().join("dist");
    let name = concat!("coracle-", env!("CARGO_PKG_VERSION"), "-x86_64-linux");
    let archive = format!("{name}.tar.gz");
    paths::make_empty(&dist)?;
    fill(&coracle, &dist.join(name))?;

    let reproducible = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"];
    line("tar")
        .arg("-C")
        .arg(&dist)
        .args(reproducible)
        .args(["-czf"])
        .arg(dist.join(&archive))
        .arg(name)
        .run()?;
    let sums = line("sha256sum").arg(dist.join(&archive));
    let sums = ["coracle", "coracle-serve"]
        .iter()
        .fold(sums, |sums, program| sums.arg(dist.join(name).join(program)))
        .output()?;
    let prefix = format!("{}/", dist.display());
    let sums = String::from_utf8_lossy(&sums).replace(&prefix, "");
    paths::write(&dist.join("SHA256SUMS"), &sums)?;

    eprintln!();
    print!("{sums}");
    Ok(())
}

fn fill(coracle: &Path, directory: &Path) -> Result {
    paths::copy(coracle, &directory.join("coracle"))?;
    paths::copy(&tender::server(coracle), &directory.join("coracle-serve"))?;
    for (shell, file) in SHELLS {
        let script = line(coracle).args(["completions", shell]).output()?;
        paths::write(&directory.join("completions").join(file), script)?;
    }
    paths::write(&directory.join("man/coracle.1"), line(coracle).arg("man").output()?)?;
    for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        paths::copy(&paths::root().join(file), &directory.join(file))?;
    }
    Ok(())
}
