//! The features that the guest sees.
//!
//! Asking KVM for all it supports costs a quarter of a start, since it executes `cpuid` some fifty
//! times, and each may trap when the host is itself a guest. So the table is made here of the few
//! leaves that a program at CPL 3 looks at, from the host's own values, through an allow-list: what
//! is not on it the guest does not see, whatever the CPU has. Field layouts: Intel SDM volume 2,
//! "CPUID"; AMD APM volume 3, appendix E.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use std::arch::x86_64::{__cpuid_count, _xgetbv};

/// Leaf 1, ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE,
/// AVX, F16C, RDRAND. OSXSAVE follows from CR4.
const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 1, EDX: FPU, PSE, TSC, MSR, PAE, CX8, PGE, CMOV, PAT, PSE-36, CLFSH, MMX, FXSR, SSE, SSE2.
const LEAF_1_EDX: u32 = bits(&[0, 3, 4, 5, 6, 8, 13, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 7, EBX: FSGSBASE, BMI1, AVX2, BMI2, ERMS, AVX512F, AVX512DQ, RDSEED, ADX, AVX512-IFMA,
/// CLFLUSHOPT, CLWB, AVX512CD, SHA, AVX512BW, AVX512VL.
const LEAF_7_EBX: u32 = bits(&[0, 3, 5, 8, 9, 16, 17, 18, 19, 21, 23, 24, 28, 29, 30, 31]);
/// Leaf 7, ECX: AVX512-VBMI, UMIP, AVX512-VBMI2, GFNI, VAES, VPCLMULQDQ, AVX512-VNNI,
/// AVX512-BITALG, AVX512-VPOPCNTDQ.
const LEAF_7_ECX: u32 = bits(&[1, 2, 6, 8, 9, 10, 11, 12, 14]);
/// Leaf 7, EDX: FSRM.
const LEAF_7_EDX: u32 = bits(&[4]);
/// Leaf 0x8000_0001, ECX: LAHF, LZCNT, SSE4A, PREFETCHW.
const LEAF_81_ECX: u32 = bits(&[0, 5, 6, 8]);
/// Leaf 0x8000_0001, EDX: NX, LM.
const LEAF_81_EDX: u32 = bits(&[20, 29]);
/// Leaf 0xd, subleaf 1, EAX: XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
const LEAF_D1_EAX: u32 = bits(&[0, 1, 2]);

/// A program runs under a hypervisor (leaf 1, ECX).
const HYPERVISOR: u32 = 1 << 31;
/// State components: x87, SSE, AVX, and the three of AVX-512.
const STATE_COMPONENTS: u64 = 0xe7;
/// Bytes that `xsave` takes for x87 and SSE with its header, and for AVX behind that.
const XSAVE_LEGACY: u32 = 576;
const AVX_SIZE: u32 = 256;
const AVX_512: u64 = 0xe0;
const AVX: u64 = 1 << 2;

const fn bits(positions: &[u32]) -> u32 {
    let mut mask = 0;
    let mut index = 0;
    while index < positions.len() {
        mask |= 1 << positions[index];
        index += 1;
    }
    mask
}

/// What of the CPU the control registers must switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `wrfsbase` and its kin.
    pub fsgsbase: bool,
    /// Instructions that show system registers can be forbidden at CPL 3.
    pub umip: bool,
    /// The state components to switch on with XSAVE; 0 on a CPU without it.
    pub xcr0: u64,
    /// The time stamp counter ticks at one rate whatever the CPU does.
    pub invariant_tsc: bool,
    /// How many bits a physical address has.
    pub physical_bits: u32,
}

/// Why no table could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// The CPU lacks something that every guest relies on.
    #[error("this CPU has no {0}, which every guest relies on: a CPU since about 2013 is needed")]
    Missing(&'static str),
    /// The table is longer than KVM takes.
    #[error("the CPUID table has too many entries")]
    TooLong,
}

/// Makes the table for this host's CPU.
///
/// # Errors
/// See [`CpuError`].
pub fn table() -> Result<(CpuId, Features), CpuError> {
    let mut table = Table(Vec::with_capacity(16));
    let vendor = table.host(0, 0);
    let highest = vendor.eax.min(0xd);
    table.add(kvm_cpuid_entry2 { eax: highest, ..vendor });

    let mut one = table.host(1, 0);
    let has_xsave = one.ecx & 1 << 26 != 0 && one.ecx & 1 << 27 != 0;
    one.ecx = one.ecx & LEAF_1_ECX | HYPERVISOR;
    one.edx &= LEAF_1_EDX;
    // The cache line size of CLFLUSH stays; APIC ids and counts are of no meaning here.
    one.ebx &= 0xff00;
    let xcr0 = if has_xsave { host_xcr0() & STATE_COMPONENTS } else { 0 };
    if xcr0 & AVX == 0 {
        one.ecx &= !bits(&[12, 28, 29]);
    }
    if xcr0 == 0 {
        one.ecx &= !(1 << 26);
    }
    table.add(one);

    let mut seven = if highest >= 7 { table.host(7, 0) } else { kvm_cpuid_entry2::default() };
    seven.eax = 0;
    seven.ebx &= LEAF_7_EBX;
    seven.ecx &= LEAF_7_ECX;
    seven.edx &= LEAF_7_EDX;
    if xcr0 & AVX == 0 {
        seven.ebx &= !(1 << 5);
        seven.ecx &= !bits(&[9, 10]);
    }
    if xcr0 & AVX_512 != AVX_512 {
        seven.ebx &= !bits(&[16, 17, 21, 28, 30, 31]);
        seven.ecx &= !bits(&[1, 6, 11, 12, 14]);
    }
    if highest >= 7 {
        table.add(seven);
    }
    if xcr0 != 0 {
        table.add_state_components(xcr0);
    }
    let fsgsbase = seven.ebx & 1 != 0;
    if !fsgsbase {
        return Err(CpuError::Missing("FSGSBASE"));
    }
    let Extended { invariant_tsc, physical_bits } = table.add_extended()?;
    let features = Features { fsgsbase, umip: seven.ecx & 1 << 2 != 0, xcr0, invariant_tsc, physical_bits };
    let cpuid = CpuId::from_entries(&table.0).map_err(|_| CpuError::TooLong)?;
    Ok((cpuid, features))
}

/// The state components that the host's kernel has switched on.
fn host_xcr0() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: register 0 always exists.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the caller has seen OSXSAVE, so that the instruction is there and allowed.
    unsafe { read() }
}

struct Table(Vec<kvm_cpuid_entry2>);

/// What the extended leaves say.
struct Extended {
    invariant_tsc: bool,
    physical_bits: u32,
}

impl Table {
    fn host(&self, leaf: u32, subleaf: u32) -> kvm_cpuid_entry2 {
        let found = __cpuid_count(leaf, subleaf);
        // Leaves whose answer depends on ECX. Without the flag, KVM answers for all subleaves.
        let flags = if matches!(leaf, 7 | 0xd) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
        kvm_cpuid_entry2 {
            flags,
            function: leaf,
            index: subleaf,
            eax: found.eax,
            ebx: found.ebx,
            ecx: found.ecx,
            edx: found.edx,
            ..kvm_cpuid_entry2::default()
        }
    }

    fn add(&mut self, entry: kvm_cpuid_entry2) {
        self.0.push(entry);
    }

    /// Leaf 0xd: what `xsave` stores and where. Each `cpuid` may trap, so what the architecture fixes
    /// is not asked for (Intel SDM volume 1, section 13.4).
    fn add_state_components(&mut self, xcr0: u64) {
        let leaf = |index, eax, ebx, ecx| kvm_cpuid_entry2 {
            function: 0xd,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax,
            ebx,
            ecx,
            ..kvm_cpuid_entry2::default()
        };
        let more = self.host(0xd, 1).eax & LEAF_D1_EAX;
        let mut size = XSAVE_LEGACY;
        let mut components = Vec::new();
        if xcr0 & AVX != 0 {
            size += AVX_SIZE;
            components.push(leaf(2, AVX_SIZE, XSAVE_LEGACY, 0));
        }
        for component in (3..64).filter(|component| xcr0 & 1 << component != 0) {
            let entry = self.host(0xd, component);
            size = size.max(entry.ebx + entry.eax);
            components.push(entry);
        }
        self.add(leaf(0, xcr0 as u32, size, size));
        self.add(leaf(1, more, 0, 0));
        self.0.extend(components);
    }

    /// Leaves from 0x8000_0000.
    fn add_extended(&mut self) -> Result<Extended, CpuError> {
        // Every CPU that has FSGSBASE has these leaves, so their number is not asked for.
        self.add(kvm_cpuid_entry2 { function: 0x8000_0000, eax: 0x8000_0008, ..kvm_cpuid_entry2::default() });
        let mut features = self.host(0x8000_0001, 0);
        (features.eax, features.ebx) = (0, 0);
        features.ecx &= LEAF_81_ECX;
        features.edx &= LEAF_81_EDX;
        if features.edx & 1 << 20 == 0 {
            return Err(CpuError::Missing("no-execute pages"));
        }
        self.add(features);
        let mut power = self.host(0x8000_0007, 0);
        (power.eax, power.ebx, power.ecx) = (0, 0, 0);
        power.edx &= 1 << 8;
        self.add(power);
        let mut sizes = self.host(0x8000_0008, 0);
        (sizes.ebx, sizes.ecx, sizes.edx) = (0, 0, 0);
        self.add(sizes);
        Ok(Extended { invariant_tsc: power.edx != 0, physical_bits: sizes.eax & 0xff })
    }
}
