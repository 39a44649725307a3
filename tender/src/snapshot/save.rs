//! A file that has its name only when all of it is written. Where the file system can, it has none before, so that
//! nothing is left of it however its writer ends.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Only the owner may read it.
const MODE: u32 = 0o600;

/// Has `write` fill a file that takes the place of whatever has this path.
///
/// # Errors
/// The host's.
pub(super) fn whole(path: &Path, write: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut part = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = folder.join(part);
    if let Some((file, link)) = without_name(folder) {
        write(&file).and_then(|()| file.sync_all())?;
        if name(&link, path, &part).is_ok() {
            return Ok(());
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&part)?;
    let done = write(&file).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&part, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// A file in a folder, without a name, and the link by which it can be given one. Some file systems have none.
fn without_name(folder: &Path) -> Option<(File, PathBuf)> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(MODE).open(folder).ok()?;
    let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.symlink_metadata().ok()?;
    Some((file, link))
}

/// Gives such a file a name, by way of another where there is a file of that name.
fn name(link: &Path, path: &Path, part: &Path) -> io::Result<()> {
    match name_new(link, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            name_new(link, part)?;
            std::fs::rename(part, path).inspect_err(|_| drop(std::fs::remove_file(part)))
        }
        done => done,
    }
}

fn name_new(link: &Path, path: &Path) -> io::Result<()> {
    let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (link, path) = (c_string(link)?, c_string(path)?);
    let here = libc::AT_FDCWD;
    // SAFETY: both are C strings.
    match unsafe { libc::linkat(here, link.as_ptr(), here, path.as_ptr(), libc::AT_SYMLINK_FOLLOW) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
