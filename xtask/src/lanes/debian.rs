//! Debian's kernel for cloud machines, which has few drivers, all of KVM and boots soon.

use super::programs;
use crate::paths;
use crate::shell::{Context, Failure, Result, line};
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// The package that always depends on the newest.
const NEWEST: &str = "linux-image-cloud-amd64";

/// Names a package to be taken instead of one that apt brings.
const PACKAGE: &str = "CORACLE_LANE_KERNEL";

/// A kernel that was unpacked.
pub(super) struct Kernel {
    /// Its image.
    pub(super) image: PathBuf,
    /// All its modules that are of use here.
    pub(super) modules: PathBuf,
}

/// The parts of the package that are unpacked.
fn wanted(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("boot/vmlinuz-")
        || path.ends_with("/modules.builtin")
        || ["/virt/", "/arch/x86/kvm/", "/drivers/crypto/", "/arch/x86/crypto/"]
            .iter()
            .any(|folder| path.contains("/kernel/") && path.contains(folder))
}

/// The kernel in this directory. It is got when there is none yet.
pub(super) fn kernel(directory: &Path) -> Result<Kernel> {
    let given = std::env::var_os(PACKAGE).map(PathBuf::from);
    let from = directory.join("from");
    let source = given.as_ref().map_or_else(|| "apt".to_owned(), |package| package.display().to_string());
    if std::fs::read_to_string(&from).is_ok_and(|before| before == source) {
        return find(directory);
    }
    if let Some(package) = given.as_ref().filter(|package| !package.is_file()) {
        return Err(Failure::new(format!("{PACKAGE} names {}, which is no file", package.display())));
    }
    paths::make_empty(directory)?;
    let package = match given {
        Some(package) => package,
        None => download(directory)?,
    };
    eprintln!("unpacking {}", package.display());
    unpack(&package, directory).context(|| format!("unpacking {}", package.display()))?;
    let kernel = find(directory)?;
    // Last: what was interrupted is done again.
    paths::write(&from, source)?;
    Ok(kernel)
}

/// Has apt bring the newest kernel's package to `directory`.
fn download(directory: &Path) -> Result<PathBuf> {
    let unable = |reason: &str| {
        let message = format!(
            "{reason}: on another system than Debian, download the package that {NEWEST} depends on (from \
             https://packages.debian.org/{NEWEST}) and name the file in {PACKAGE}"
        );
        Failure::new(message)
    };
    if programs::find("apt-get").is_none() || programs::find("apt-cache").is_none() {
        return Err(unable("there is no apt here to bring Debian's kernel"));
    }
    let depends = line("apt-cache").args(["depends", "--important", NEWEST]).quiet_output();
    // What it does not know is an error or an empty answer.
    let depends = depends.unwrap_or_default();
    let depends = String::from_utf8_lossy(&depends);
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let Some(version) = package else {
        return Err(unable(&format!("apt does not know {NEWEST} (apt-get update asks for the lists)")));
    };
    // For root, apt would become another user, who may not write here.
    let apt = line("apt-get").args(["--quiet", "--quiet", "-o", "APT::Sandbox::User=root", "download"]);
    let download = apt.arg(format!("linux-image-{version}")).within(directory).run();
    download.map_err(|failure| {
        unable(&format!("{failure} (lists that are too old name a kernel that is gone: apt-get update)"))
    })?;
    let entries = std::fs::read_dir(directory).context(|| directory.display().to_string())?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    package.ok_or_else(|| unable("apt brought nothing"))
}

/// Unpacks what is wanted of a package: an `ar` archive of `tar` archives, one of which has the files.
fn unpack(package: &Path, directory: &Path) -> io::Result<()> {
    let mut archive = ar::Archive::new(BufReader::new(File::open(package)?));
    while let Some(entry) = archive.next_entry() {
        let entry = entry?;
        match entry.header().identifier() {
            b"data.tar.xz" => return unpack_files(XzReader::new(entry, true), directory),
            b"data.tar" => return unpack_files(entry, directory),
            _ => {}
        }
    }
    Err(io::Error::other("it has no data.tar.xz"))
}

fn unpack_files(files: impl Read, directory: &Path) -> io::Result<()> {
    let mut files = tar::Archive::new(BufReader::new(files));
    for file in files.entries()? {
        let mut file = file?;
        if file.header().entry_type().is_file() && wanted(&file.path()?) {
            file.unpack_in(directory)?;
        }
    }
    Ok(())
}

/// The kernel that was unpacked here.
fn find(directory: &Path) -> Result<Kernel> {
    let boot = directory.join("boot");
    let entries = std::fs::read_dir(&boot).context(|| boot.display().to_string())?;
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = names.find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    let Some(version) = version else {
        return Err(Failure::new(format!("there is no vmlinuz-… in {}", boot.display())));
    };
    let modules = ["lib/modules", "usr/lib/modules"].map(|place| directory.join(place).join(&version));
    let Some(modules) = modules.into_iter().find(|place| place.exists()) else {
        return Err(Failure::new(format!("{} has no modules of {version}", directory.display())));
    };
    Ok(Kernel { image: boot.join(format!("vmlinuz-{version}")), modules })
}
