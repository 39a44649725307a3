//! Where things are, and moving them.

use crate::shell::{Context, Result};
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository")
}

/// The host workspace's target directory.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Makes a directory and those above it.
pub(crate) fn make(directory: &Path) -> Result {
    std::fs::create_dir_all(directory).context(|| format!("making {}", directory.display()))
}

/// Makes a directory anew, without what was in it.
pub(crate) fn make_empty(directory: &Path) -> Result {
    if directory.exists() {
        std::fs::remove_dir_all(directory).context(|| format!("emptying {}", directory.display()))?;
    }
    make(directory)
}

/// Copies a file, rights included. What runs from the old copy is not disturbed.
pub(crate) fn copy(from: &Path, to: &Path) -> Result {
    if let Some(directory) = to.parent() {
        make(directory)?;
    }
    if to.exists() {
        std::fs::remove_file(to).context(|| format!("replacing {}", to.display()))?;
    }
    std::fs::copy(from, to).context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Writes a file and the directories above it.
pub(crate) fn write(file: &Path, contents: impl AsRef<[u8]>) -> Result {
    if let Some(directory) = file.parent() {
        make(directory)?;
    }
    std::fs::write(file, contents).context(|| format!("writing {}", file.display()))
}
