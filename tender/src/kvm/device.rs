//! Why /dev/kvm cannot be opened, and what to do about it, in words.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const PATH: &str = "/dev/kvm";

/// Why somebody may not open the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}: {way_out}; guests run without it by --backend process")]
pub struct Denied {
    /// Whose it is.
    pub found: String,
    /// How to be let in.
    pub way_out: String,
    /// How to be let in for good, where that takes more words.
    pub for_good: Option<&'static str>,
}

impl Denied {
    /// Looks at the device as it is.
    pub(super) fn look() -> Denied {
        match fs::metadata(PATH) {
            Ok(device) => {
                let read = |path| fs::read_to_string(path).unwrap_or_default();
                let owner = name_of(&read("/etc/passwd"), device.uid());
                let group = name_of(&read("/etc/group"), device.gid());
                Denied::of(device.mode(), &owner, &group)
            }
            Err(error) => Denied {
                found: format!("may not open {PATH}, nor see whose it is ({error})"),
                way_out: "look at who may reach it".to_owned(),
                for_good: None,
            },
        }
    }

    /// A device of this mode, owner and group.
    fn of(mode: u32, owner: &str, group: &str) -> Denied {
        let may = |bits: u32| mode & bits == bits;
        let bits = mode & 0o7777;
        let found =
            format!("may not open {PATH}, which belongs to {owner} and group {group} (mode {bits:03o})");
        let acl = format!("sudo setfacl -m u:$USER:rw {PATH} (until the next start of the machine)");
        let (way_out, for_good) = if may(0o006) {
            let words = "all may by its mode, so a container or a security policy forbids it: give the container the \
                         device (--device /dev/kvm)";
            (words.to_owned(), None)
        } else if may(0o060) && group != "root" {
            // Nobody should be in root's group for this.
            (format!("sudo usermod -aG {group} $USER, then log in again; or {acl}"), None)
        } else {
            (format!("no group is let in: {acl}"), Some(FOR_GOOD))
        };
        Denied { found, way_out, for_good }
    }
}

/// How a group is let in.
const FOR_GOOD: &str = "for good: echo 'KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\"' | sudo tee \
                        /etc/udev/rules.d/65-kvm.rules, and sudo usermod -aG kvm $USER; then start the machine again";

/// Why there may be no device, and the ways out.
pub(crate) fn absent() -> String {
    let in_container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let is_amd = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("AuthenticAMD"));
    absent_in(in_container, if is_amd { "kvm_amd" } else { "kvm_intel" })
}

fn absent_in(in_container: bool, module: &str) -> String {
    let container = "this container was started without it (--device /dev/kvm gives it one)";
    let others = format!(
        "the kernel's module is not loaded (sudo modprobe {module}), or this is a virtual machine whose host has nested \
         virtualisation off, or the firmware has virtualisation off"
    );
    if in_container { format!("{container}, or {others}") } else { format!("{others}, or {container}") }
}

/// The name that has a number in /etc/passwd or /etc/group.
fn name_of(list: &str, number: u32) -> String {
    let found = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Denied, absent_in, name_of};

    #[test]
    fn the_group_to_join_is_the_one_that_the_device_has() {
        const GROUPS: &str = "root:x:0:\nkvm:x:78:\nlibvirt:x:993:alice,bob\n";
        let said = |mode, gid| Denied::of(mode, "root", &name_of(GROUPS, gid)).to_string();
        for (gid, name) in [(78, "kvm"), (993, "libvirt"), (5, "5")] {
            let said = said(0o20660, gid);
            assert!(said.contains(&format!("belongs to root and group {name} (mode 660)")), "{said}");
            assert!(said.contains(&format!("sudo usermod -aG {name} $USER")), "{said}");
            assert!(
                said.contains("setfacl -m u:$USER:rw /dev/kvm") && said.contains("--backend process"),
                "{said}"
            );
        }
        for (mode, gid) in [(0o20660, 0), (0o20600, 0), (0o20640, 78)] {
            let said = Denied::of(mode, "root", &name_of(GROUPS, gid));
            assert!(said.for_good.is_some_and(|words| words.contains("/etc/udev/rules.d/")), "{said}");
            assert!(said.way_out.contains("no group is let in: sudo setfacl"), "{said}");
        }
        assert!(said(0o20666, 0).contains("--device /dev/kvm"));
    }

    #[test]
    fn where_there_is_no_device_the_reasons_are_named_the_likeliest_first() {
        for in_container in [false, true] {
            let said = absent_in(in_container, "kvm_amd");
            for word in ["modprobe kvm_amd", "nested", "firmware", "--device /dev/kvm"] {
                assert!(said.contains(word), "{said}");
            }
            assert_eq!(said.starts_with("this container"), in_container, "{said}");
        }
    }
}
