//! What `cpuid` answers in a process whose kernel has it trap (arch_prctl(2), `ARCH_SET_CPUID`): what KVM would
//! answer from the same table.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// The longest instruction.
pub(super) const LONGEST: usize = 15;

/// How many bytes the instruction in `code` has, where it is `cpuid`.
pub(super) fn length(code: &[u8]) -> Option<u64> {
    /// They change nothing about it. What it has with a lock prefix (0xf0) is not this fault.
    const PREFIXES: [u8; 10] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3];
    const REX: std::ops::RangeInclusive<u8> = 0x40..=0x4f;
    let prefixes = code.iter().take_while(|byte| PREFIXES.contains(byte) || REX.contains(byte)).count();
    let rest = code.get(prefixes..)?;
    rest.starts_with(&[0x0f, 0xa2]).then_some(prefixes as u64 + 2)
}

/// eax, ebx, ecx and edx for a leaf and a subleaf. Like KVM it fills in what is of the machine and not of the
/// table (Linux, arch/x86/kvm/cpuid.c, `kvm_cpuid` and `kvm_update_cpuid_runtime`).
pub(super) fn answer(table: &CpuId, leaf: u32, subleaf: u32) -> [u32; 4] {
    /// XSAVE, and that it is switched on (leaf 1, ECX).
    const XSAVE: u32 = 1 << 26;
    const OSXSAVE: u32 = 1 << 27;
    let entries = table.as_slice();
    let Some(found) = entry(entries, leaf, subleaf).or_else(|| beyond(entries, leaf, subleaf)) else {
        return [0; 4];
    };
    let mut values = [found.eax, found.ebx, found.ecx, found.edx];
    if let (1, [_, _, ecx, _]) = (found.function, &mut values)
        && *ecx & XSAVE != 0
    {
        *ecx |= OSXSAVE;
    }
    if let (0xd, 1, [eax, ebx, ..]) = (found.function, found.index, &mut values) {
        *ebx = compact_size(entries, *eax);
    }
    values
}

fn entry(entries: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> Option<&kvm_cpuid_entry2> {
    entries.iter().find(|entry| {
        let any = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX == 0;
        entry.function == leaf && (any || entry.index == subleaf)
    })
}

/// A leaf beyond those that there are is the highest of the basic ones, but for CPUs of AMD and Hygon.
fn beyond(entries: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> Option<&kvm_cpuid_entry2> {
    /// The first letters of their names, in EBX of leaf 0.
    const NONE_BEYOND: [[u8; 4]; 3] = [*b"Auth", *b"AMDi", *b"Hygo"];
    let basic = entry(entries, 0, 0)?;
    if NONE_BEYOND.contains(&basic.ebx.to_le_bytes()) {
        return None;
    }
    let class = match leaf {
        0x4000_0000..0x5000_0000 => leaf & 0xffff_ff00,
        0xc000_0000.. => 0xc000_0000,
        _ => leaf & 0x8000_0000,
    };
    if entry(entries, class, 0).is_some_and(|class| leaf <= class.eax) {
        return None;
    }
    entry(entries, basic.eax, subleaf)
}

/// The bytes that `xsavec` takes at most, where there is that: components follow each other, some of them
/// aligned (Intel SDM volume 1, section 13.4.3).
fn compact_size(entries: &[kvm_cpuid_entry2], more: u32) -> u32 {
    const XSAVEC: u32 = 1 << 1;
    const LEGACY: u32 = 576;
    /// In ECX of a component.
    const ALIGNED: u32 = 1 << 1;
    if more & XSAVEC == 0 {
        return 0;
    }
    let components = entries.iter().filter(|entry| entry.function == 0xd && entry.index >= 2);
    components.fold(LEGACY, |size, entry| {
        let start = if entry.ecx & ALIGNED != 0 { size.next_multiple_of(64) } else { size };
        start.saturating_add(entry.eax)
    })
}

#[cfg(test)]
mod tests {
    use super::{answer, length};
    use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

    #[test]
    fn cpuid_is_known_with_prefixes_that_change_nothing() {
        assert_eq!(length(&[0x0f, 0xa2, 0xf4]), Some(2));
        assert_eq!(length(&[0x66, 0xf3, 0x48, 0x0f, 0xa2]), Some(5));
        for code in [&[0xf0, 0x0f, 0xa2][..], &[0x0f, 0xa3], &[0x0f], &[0x66], &[]] {
            assert_eq!(length(code), None, "{code:x?}");
        }
    }

    /// A table with this vendor.
    fn table(vendor: [u8; 4]) -> CpuId {
        let entry = |function, index, eax, ecx| kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ecx,
            flags: if matches!(function, 7 | 0xd) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
            ..kvm_cpuid_entry2::default()
        };
        let mut entries = [
            entry(0, 0, 0xd, 0),
            entry(1, 0, 1, 1 << 26),
            entry(7, 0, 7, 0),
            entry(0xd, 0, 7, 832),
            entry(0xd, 1, 0b10, 0),
            entry(0xd, 2, 256, 0),
            entry(0xd, 9, 8, 0b10),
            entry(0x8000_0000, 0, 0x8000_0008, 0),
            entry(0x8000_0001, 0, 81, 0),
        ];
        entries[0].ebx = u32::from_le_bytes(vendor);
        CpuId::from_entries(&entries).expect("few entries")
    }

    #[test]
    fn subleaves_count_where_the_table_says_so() {
        let table = table(*b"Genu");
        assert_eq!(answer(&table, 7, 0)[0], 7);
        assert_eq!(answer(&table, 7, 1), [0; 4]);
        assert_eq!(answer(&table, 1, 9)[0], 1);
        assert_eq!(answer(&table, 0x8000_0001, 5)[0], 81);
    }

    #[test]
    fn xsave_is_switched_on_and_its_compact_form_has_a_size() {
        let table = table(*b"Genu");
        assert_eq!(answer(&table, 1, 0)[2], 1 << 26 | 1 << 27);
        assert_eq!(answer(&table, 0xd, 1)[1], 832 + 8);
    }

    #[test]
    fn leaves_beyond_the_last_are_that_but_on_cpus_of_amd() {
        let intel = table(*b"Genu");
        assert_eq!(answer(&intel, 0x14, 1)[0], 0b10);
        assert_eq!(answer(&intel, 0x8000_0009, 0)[0], 7);
        assert_eq!(answer(&intel, 0x4000_0000, 2)[0], 256);
        // One that is missing among those that there are.
        assert_eq!(answer(&intel, 4, 0), [0; 4]);
        assert_eq!(answer(&intel, 0x8000_0002, 0), [0; 4]);
        assert_eq!(answer(&table(*b"Auth"), 0x14, 1), [0; 4]);
    }
}
