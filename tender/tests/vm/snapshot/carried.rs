//! A snapshot that another machine has taken runs here, or is refused in words where this CPU lacks what
//! the guest has seen.

use crate::not_run::not_run;
use crate::support::{directory, fed, no_kvm, run, stderr, stdout};
use coracle_hypercall::exit;
use coracle_tender::snapshot::format::{Cpuid, Header};
use zerocopy::FromBytes;

/// Bits of CPUID's leaf 7 that not every machine has: of EBX, AVX2, AVX-512F and SHA.
const SOME_FEATURES: u32 = 1 << 5 | 1 << 16 | 1 << 29;

/// Those of [`SOME_FEATURES`] that a snapshot's guest has seen.
fn seen_features(snapshot: &[u8]) -> u32 {
    let (header, rest) = Header::read_from_prefix(snapshot).expect("a header");
    let (table, _) =
        <[Cpuid]>::ref_from_prefix_with_elems(rest, header.cpuid_count as usize).expect("a table");
    let leaf = table.iter().find(|entry| (entry.leaf, entry.subleaf) == (7, 0)).expect("leaf 7");
    leaf.values[1] & SOME_FEATURES
}

#[test]
fn a_snapshot_of_another_machine_runs_or_is_refused_in_words() {
    if no_kvm() {
        return;
    }
    let file = directory().join("snapshots/handler-echo");
    let Ok(bytes) = std::fs::read(&file) else {
        return not_run(
            "no snapshot of another machine was staged: cargo xtask test --on does, where KVM is",
        );
    };
    let here = std::arch::x86_64::__cpuid_count(7, 0).ebx;
    let lacking = seen_features(&bytes) & !here;
    let ended = fed(run::<&str>(&["--timeout", "60s"], file, &[]), b"some words");
    let said = stderr(&ended);
    if ended.status.code() == Some(0) {
        assert_eq!(lacking, 0, "it runs without what it has seen");
        assert!(stdout(&ended).contains("some words"), "{}", stdout(&ended));
    } else {
        assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
        assert!(said.contains("was taken on a CPU with ") && said.contains("take it anew"), "{said}");
        assert_eq!(stdout(&ended), "");
    }
}
