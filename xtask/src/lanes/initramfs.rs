//! The file system that a machine boots with: an archive in cpio's "newc" form, as Linux wants it.

use crate::paths;
use crate::shell::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An archive that is being written.
pub(super) struct Initramfs {
    /// Taken while an entry is written.
    file: Option<BufWriter<File>>,
    directories: BTreeSet<String>,
    /// Each entry has its own, so that none is taken for a second name of another.
    entries: u32,
}

impl Initramfs {
    /// An archive behind what the file has already: Linux unpacks one after the other.
    pub(super) fn append(path: &Path) -> Result<Initramfs> {
        let file = File::options().append(true).create(true).open(path);
        let file = BufWriter::new(file.context(|| path.display().to_string())?);
        Ok(Initramfs { file: Some(file), directories: BTreeSet::new(), entries: 0 })
    }

    /// An archive with what every machine has.
    pub(super) fn create(path: &Path) -> Result<Initramfs> {
        paths::write(path, "")?;
        let mut archive = Initramfs::append(path)?;
        let etc = [
            ("etc/passwd", "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"),
            ("etc/group", "root:x:0:\nkvm:x:0:\nnogroup:x:65534:\n"),
            ("etc/hosts", "127.0.0.1 localhost\n"),
        ];
        for (name, contents) in etc {
            archive.add(name, 0o644, contents.as_bytes())?;
        }
        // The kernel's own messages before anything is mounted, and those of the first program.
        archive.device("dev/console", 5, 1)?;
        Ok(archive)
    }

    /// Adds a file of these rights, and the directories above it.
    pub(super) fn add(&mut self, name: &str, rights: u32, contents: &[u8]) -> Result {
        self.parents(name)?;
        let entry = Builder::new(name).mode(rights).set_mode_file_type(ModeFileType::Regular);
        self.write(entry, contents)
    }

    /// Adds a file of this machine, with its rights.
    pub(super) fn add_file(&mut self, name: &str, file: &Path) -> Result {
        let contents = std::fs::read(file).context(|| file.display().to_string())?;
        let rights = file.metadata().context(|| file.display().to_string())?.permissions().mode();
        self.add(name, rights & 0o777, &contents)
    }

    /// Adds what a directory of this machine holds.
    pub(super) fn add_directory(&mut self, name: &str, directory: &Path) -> Result {
        let entries = std::fs::read_dir(directory).context(|| directory.display().to_string())?;
        for entry in entries.flatten() {
            let inside = format!("{name}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.add_directory(&inside, &entry.path())?;
            } else {
                self.add_file(&inside, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result {
        let Some(file) = self.file else { return Ok(()) };
        trailer(file).and_then(|mut file| file.flush()).context(|| "writing the initramfs".to_owned())
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result {
        self.parents(name)?;
        let entry = Builder::new(name).mode(0o600).set_mode_file_type(ModeFileType::Char);
        self.write(entry.rdev_major(major).rdev_minor(minor), &[])
    }

    /// Adds the directories above a name that are not there yet.
    fn parents(&mut self, name: &str) -> Result {
        let ends: Vec<usize> = name.match_indices('/').map(|(end, _)| end).collect();
        for end in ends {
            let directory = name.get(..end).unwrap_or_default();
            if self.directories.insert(directory.to_owned()) {
                let entry = Builder::new(directory).mode(0o755).set_mode_file_type(ModeFileType::Directory);
                self.write(entry, &[])?;
            }
        }
        Ok(())
    }

    fn write(&mut self, entry: Builder, contents: &[u8]) -> Result {
        self.entries += 1;
        let result = self.put(entry.ino(self.entries), contents);
        result.context(|| "writing the initramfs".to_owned())
    }

    fn put(&mut self, entry: Builder, contents: &[u8]) -> io::Result<()> {
        let file = self.file.take().ok_or_else(|| io::Error::other("an entry before failed"))?;
        let length = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let mut writer = entry.write(file, length);
        writer.write_all(contents)?;
        self.file = Some(writer.finish()?);
        Ok(())
    }
}
