//! Modules of the kernel with those that they need.

use super::debian::Kernel;
use crate::shell::{Context, Failure, Result};
use lzma_rust2::XzReader;
use object::{Object, ObjectSection};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A module.
pub(super) struct Module {
    /// With `_`, as the kernel calls it.
    pub(super) name: String,
    /// The file's contents, unpacked and without signature.
    pub(super) contents: Vec<u8>,
}

/// These modules and all that they need, each after those.
pub(super) fn load_order(kernel: &Kernel, names: &[&str]) -> Result<Vec<Module>> {
    let mut files = Vec::new();
    list(&kernel.modules, &mut files).context(|| kernel.modules.display().to_string())?;
    let builtin = kernel.modules.join("modules.builtin");
    let builtin = std::fs::read_to_string(&builtin).context(|| builtin.display().to_string())?;
    let mut order = Vec::new();
    for name in names {
        add(name, &files, &builtin, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &[PathBuf], builtin: &str, order: &mut Vec<Module>) -> Result {
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(file) = files.iter().find(|file| name_of(file).as_deref() == Some(name)) else {
        if builtin.lines().any(|line| name_of(Path::new(line)).as_deref() == Some(name)) {
            return Ok(());
        }
        return Err(Failure::new(format!("this kernel has no module {name}")));
    };
    let contents = read(file).context(|| file.display().to_string())?;
    let needs = needs(&contents).context(|| file.display().to_string())?;
    for need in needs {
        add(&need, files, builtin, order)?;
    }
    order.push(Module { name: name.to_owned(), contents });
    Ok(())
}

/// All files below a directory.
fn list(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The module in a file such as `kvm-amd.ko.xz`.
fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// A module's file, unpacked. Without its signature, since checking that takes an emulated CPU long.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut contents = std::fs::read(file)?;
    if file.extension().is_some_and(|extension| extension == "xz") {
        let mut unpacked = Vec::new();
        XzReader::new(contents.as_slice(), true).read_to_end(&mut unpacked)?;
        contents = unpacked;
    }
    contents.truncate(signed_part(&contents));
    Ok(contents)
}

/// How much of a module comes before its signature: that ends with its length, big-endian, and a line
/// (Linux, `include/linux/module_signature.h`).
fn signed_part(module: &[u8]) -> usize {
    const MARK: &[u8] = b"~Module signature appended~\n";
    /// Of `struct module_signature`, the last four bytes of which are the signature's length.
    const DESCRIPTION: usize = 12;
    let Some(rest) = module.strip_suffix(MARK) else { return module.len() };
    let length = rest.last_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    rest.len().saturating_sub(DESCRIPTION + length)
}

/// The modules that a module needs, by name.
fn needs(module: &[u8]) -> object::Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let facts = file.section_by_name(".modinfo").map_or(Ok(&[][..]), |section| section.data())?;
    let facts = facts.split(|&byte| byte == 0).filter_map(|fact| std::str::from_utf8(fact).ok());
    let needs = facts.filter_map(|fact| fact.strip_prefix("depends=")).flat_map(|names| names.split(','));
    Ok(needs.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::{name_of, signed_part};
    use std::path::Path;

    #[test]
    fn a_module_is_named_by_its_file() {
        assert_eq!(name_of(Path::new("kernel/kvm-amd.ko.xz")).as_deref(), Some("kvm_amd"));
        assert_eq!(name_of(Path::new("kvm.ko")).as_deref(), Some("kvm"));
        assert_eq!(name_of(Path::new("modules.builtin")), None);
    }

    #[test]
    fn a_signature_is_left_out() {
        let mut module = b"module".to_vec();
        assert_eq!(signed_part(&module), 6);
        module.extend(b"signature\0\0\0\0\0\0\0\0\0\0\0\x09~Module signature appended~\n");
        assert_eq!(signed_part(&module), 6);
    }
}
