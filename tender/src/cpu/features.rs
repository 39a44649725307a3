//! The names of features, for people who look for the machine that has them. They are those of Linux in
//! /proc/cpuinfo, where a person would look.

use crate::snapshot::format::Cpuid;

/// Leaf, register (eax to edx), bit, name: what [`super::cpuid`] lets a guest see.
const NAMES: &[(u32, usize, u32, &str)] = &[
    (1, 2, 0, "pni"),
    (1, 2, 1, "pclmulqdq"),
    (1, 2, 9, "ssse3"),
    (1, 2, 12, "fma"),
    (1, 2, 13, "cx16"),
    (1, 2, 19, "sse4_1"),
    (1, 2, 20, "sse4_2"),
    (1, 2, 22, "movbe"),
    (1, 2, 23, "popcnt"),
    (1, 2, 25, "aes"),
    (1, 2, 26, "xsave"),
    (1, 2, 28, "avx"),
    (1, 2, 29, "f16c"),
    (1, 2, 30, "rdrand"),
    (1, 2, 31, "hypervisor"),
    (1, 3, 0, "fpu"),
    (1, 3, 3, "pse"),
    (1, 3, 4, "tsc"),
    (1, 3, 5, "msr"),
    (1, 3, 6, "pae"),
    (1, 3, 8, "cx8"),
    (1, 3, 13, "pge"),
    (1, 3, 15, "cmov"),
    (1, 3, 16, "pat"),
    (1, 3, 17, "pse36"),
    (1, 3, 19, "clflush"),
    (1, 3, 23, "mmx"),
    (1, 3, 24, "fxsr"),
    (1, 3, 25, "sse"),
    (1, 3, 26, "sse2"),
    (7, 1, 0, "fsgsbase"),
    (7, 1, 3, "bmi1"),
    (7, 1, 5, "avx2"),
    (7, 1, 8, "bmi2"),
    (7, 1, 9, "erms"),
    (7, 1, 16, "avx512f"),
    (7, 1, 17, "avx512dq"),
    (7, 1, 18, "rdseed"),
    (7, 1, 19, "adx"),
    (7, 1, 21, "avx512ifma"),
    (7, 1, 23, "clflushopt"),
    (7, 1, 24, "clwb"),
    (7, 1, 28, "avx512cd"),
    (7, 1, 29, "sha_ni"),
    (7, 1, 30, "avx512bw"),
    (7, 1, 31, "avx512vl"),
    (7, 2, 1, "avx512vbmi"),
    (7, 2, 2, "umip"),
    (7, 2, 6, "avx512_vbmi2"),
    (7, 2, 8, "gfni"),
    (7, 2, 9, "vaes"),
    (7, 2, 10, "vpclmulqdq"),
    (7, 2, 11, "avx512_vnni"),
    (7, 2, 12, "avx512_bitalg"),
    (7, 2, 14, "avx512_vpopcntdq"),
    (7, 3, 4, "fsrm"),
    (0x8000_0001, 2, 0, "lahf_lm"),
    (0x8000_0001, 2, 5, "abm"),
    (0x8000_0001, 2, 6, "sse4a"),
    (0x8000_0001, 2, 8, "3dnowprefetch"),
    (0x8000_0001, 3, 20, "nx"),
    (0x8000_0001, 3, 29, "lm"),
];

/// The features that an entry of a CPUID table names; those without a name by their bit. None for a leaf
/// that is not about features.
pub(crate) fn of(entry: &Cpuid) -> Vec<String> {
    let first = match entry.leaf {
        // eax and ebx say which CPU it is.
        1 => 2,
        7 | 0x8000_0001 => 0,
        _ => return Vec::new(),
    };
    let bits = (first..entry.values.len()).flat_map(|register| (0..32).map(move |bit| (register, bit)));
    let set =
        bits.filter(|(register, bit)| entry.values.get(*register).is_some_and(|value| value & 1 << bit != 0));
    set.map(|(register, bit)| name(entry.leaf, register, bit)).collect()
}

fn name(leaf: u32, register: usize, bit: u32) -> String {
    let named = NAMES
        .iter()
        .find(|(at, in_register, in_bit, _)| (*at, *in_register, *in_bit) == (leaf, register, bit));
    match named {
        Some((.., name)) => (*name).to_owned(),
        None => {
            let register = ["eax", "ebx", "ecx", "edx"].get(register).unwrap_or(&"");
            format!("CPUID {leaf:#x} {register} bit {bit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::cpu::cpuid;
    use crate::snapshot::format::Cpuid;

    #[test]
    fn every_feature_that_guests_see_here_has_a_name() {
        let Ok((table, _)) = cpuid::table() else { return };
        for entry in table.as_slice() {
            let values = [entry.eax, entry.ebx, entry.ecx, entry.edx];
            let features = of(&Cpuid { leaf: entry.function, subleaf: entry.index, values });
            assert!(features.iter().all(|name| !name.starts_with("CPUID")), "{features:?}");
        }
    }

    #[test]
    fn features_are_named_as_linux_names_them() {
        let features = of(&Cpuid { leaf: 7, subleaf: 0, values: [0, 1 << 5 | 1 << 16, 0, 1 << 31] });
        assert_eq!(features, ["avx2", "avx512f", "CPUID 0x7 edx bit 31"]);
    }
}
