//! What of this machine a lane needs.

use std::path::{Path, PathBuf};

/// A file that a lane needs.
pub(super) struct Need {
    /// Its absolute path, or the name of a program.
    pub(super) file: &'static str,
    /// Debian's package that has it.
    pub(super) package: &'static str,
}

/// What of these is not here and how to get it, or nothing when all is.
pub(super) fn missing(needs: &[Need]) -> Option<String> {
    let missing: Vec<&Need> = needs.iter().filter(|need| find(need.file).is_none()).collect();
    let first = missing.first()?;
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    Some(format!(
        "there is no {} here (on Debian: apt-get install --no-install-recommends {})",
        first.file,
        packages.join(" ")
    ))
}

/// Where a file or program is.
pub(super) fn find(file: &str) -> Option<PathBuf> {
    if file.starts_with('/') {
        return Some(PathBuf::from(file)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    // Where root's programs lie too, whoever asks.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(file)).find(|path| path.is_file())
}

/// The path of something that [`missing`] did not miss.
pub(super) fn path(file: &str) -> PathBuf {
    find(file).unwrap_or_else(|| Path::new(file).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Need, missing};

    #[test]
    fn what_is_missing_is_named_with_its_packages() {
        let here = Need { file: "sh", package: "dash" };
        assert_eq!(missing(&[here]), None);
        let absent = |file, package| Need { file, package };
        let needs = [absent("/nowhere/one", "p"), absent("/nowhere/two", "p"), absent("/nowhere/three", "q")];
        let said = missing(&needs).expect("they are missing");
        assert!(said.starts_with("there is no /nowhere/one here") && said.ends_with("p q)"), "{said}");
    }
}
