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
    // One that nobody has: what a writer that was killed has left is in nobody's way.
    let mut part = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    part.push(format!(".{:016x}.part", random()?));
    let part = folder.join(part);
    if let Some((file, link)) = without_name(folder) {
        write(&file).and_then(|()| file.sync_all())?;
        if name(&link, path, &part).is_ok() {
            return Ok(());
        }
    }
    with_name(path, &part, write)
}

/// The same where a file has a name from its beginning.
fn with_name(path: &Path, part: &Path, write: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(part)?;
    let done = write(&file).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(part, path));
    if done.is_err() {
        let _ = std::fs::remove_file(part);
    }
    done
}

fn random() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer has that length.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
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

#[cfg(test)]
mod tests {
    use super::{whole, with_name};
    use std::fs;
    use std::io::Write;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Containers have the same number for many processes.
    #[test]
    fn what_a_killed_writer_of_the_same_number_has_left_is_in_nobodys_way() {
        let folder = std::env::temp_dir().join(format!("coracle-save-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("snapshot");
        let left = format!("snapshot.{}.part", std::process::id());
        fs::write(folder.join(&left), "half").expect("a file");
        // Where there is no file of that name, and where there is one.
        for words in ["one", "two"] {
            whole(&path, |mut file| file.write_all(words.as_bytes())).expect("it is written");
            assert_eq!(fs::read_to_string(&path).expect("a file"), words);
        }
        // While another writes it.
        whole(&path, |mut file| {
            whole(&path, |mut file| file.write_all(b"inner"))?;
            file.write_all(b"outer")
        })
        .expect("both are written");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "outer");
        assert_eq!(names(&folder), ["snapshot", &left]);
        fs::remove_dir_all(&folder).expect("it is removed");
    }

    #[test]
    fn a_file_with_a_name_from_its_beginning_takes_the_place_of_another_or_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("coracle-save-named-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let (path, part) = (folder.join("snapshot"), folder.join("snapshot.part"));
        for words in ["one", "two"] {
            with_name(&path, &part, |mut file| file.write_all(words.as_bytes())).expect("it is written");
        }
        let failed = with_name(&path, &part, |_| Err(std::io::ErrorKind::StorageFull.into()));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).expect("a file"), "two");
        assert_eq!(names(&folder), ["snapshot"]);
        fs::remove_dir_all(&folder).expect("it is removed");
    }
}
