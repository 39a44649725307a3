//! What `cpuid` shows.

use super::code::hexadecimal;
use super::machine::Ran;
use crate::not_run::not_run;
use crate::support::{guest, kvm_host, process_host};
use coracle_tender::cpu::cpuid;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::layout::Placement;
use coracle_tender::machine::Host;
use coracle_tender::process;
use coracle_tender::registers::Registers;
use coracle_tender::snapshot::Snapshot;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

/// Says so where `cpuid` shows a process all that the CPU has.
fn is_shown() -> bool {
    let shown = !process::Host::cpuid_is_hidden();
    if shown {
        not_run("this CPU, or its kernel, does not let the tender decide what cpuid shows");
    }
    shown
}

/// `mov eax, leaf; mov ecx, subleaf; cpuid; ud2`, with all bits set before that in what is to be cleared.
fn code(leaf: u32, subleaf: u32) -> String {
    const SET_ALL: &[u8] = &[0x48, 0x83, 0xc8, 0xff, 0x48, 0x89, 0xc1, 0x48, 0x89, 0xc2];
    let [leaf, subleaf] = [leaf.to_le_bytes(), subleaf.to_le_bytes()];
    let load = [&[0xb8], &leaf[..], &[0xb9], &subleaf[..]].concat();
    hexadecimal(&[SET_ALL, &load, &[0x0f, 0xa2, 0x0f, 0x0b]].concat())
}

fn values(registers: &Registers) -> [u64; 4] {
    [registers.rax, registers.rbx, registers.rcx, registers.rdx]
}

fn shown(host: &Host, leaf: u32, subleaf: u32) -> [u64; 4] {
    values(&Ran::on(host, "run_code", &[&code(leaf, subleaf)], Placement::Random).registers())
}

/// Leaves and subleaves of the table, with their values but for what is of the machine: that XSAVE is switched
/// on, and how long its compact form is.
fn table() -> Vec<(u32, u32, [u64; 4])> {
    let (table, _) = cpuid::table().expect("a CPU with what guests need");
    let entries = table.as_slice().iter();
    let values = entries.map(|entry| {
        let mut values = [entry.eax, entry.ebx, entry.ecx, entry.edx].map(u64::from);
        match (entry.function, entry.index) {
            (1, _) => values[2] |= (values[2] & 1 << 26) << 1,
            (0xd, 1) => values[1] = u64::MAX,
            _ => {}
        }
        (entry.function, entry.index, values)
    });
    values.collect()
}

#[test]
fn cpuid_shows_a_process_what_the_tender_lets_it_see_and_no_more() {
    if is_shown() {
        return;
    }
    let host = process_host();
    for (leaf, subleaf, wanted) in table() {
        let mut found = shown(&host, leaf, subleaf);
        if (leaf, subleaf) == (0xd, 1) {
            found[1] = u64::MAX;
        }
        assert_eq!(found, wanted, "leaf {leaf:#x}, subleaf {subleaf}");
    }
    // Leaves and subleaves that it leaves out are empty.
    for (leaf, subleaf) in [(2, 0), (4, 0), (7, 1), (0xb, 0), (0xd, 63), (0x8000_0002, 0), (0x8000_0006, 0)] {
        assert_eq!(shown(&host, leaf, subleaf), [0; 4], "leaf {leaf:#x}, subleaf {subleaf}");
    }
}

#[test]
fn cpuid_shows_a_process_what_it_shows_a_vm() {
    if is_shown() {
        return;
    }
    let Some(kvm) = kvm_host() else { return };
    let host = process_host();
    let more = [(2, 0), (4, 1), (0xd, 63), (0x20, 0), (0x4000_0000, 0), (0x8000_0005, 0), (0x8000_0100, 0)];
    let leaves = table().into_iter().map(|(leaf, subleaf, _)| (leaf, subleaf)).chain(more);
    for (leaf, subleaf) in leaves {
        let (in_process, mut in_vm) = (shown(&host, leaf, subleaf), shown(&kvm, leaf, subleaf));
        // KVM adds features to these that are its own, and one that runs guests under the host's descriptor tables
        // all of the host's.
        if matches!((leaf, subleaf), (1 | 7, 0)) {
            in_vm.iter_mut().zip(in_process).for_each(|(vm, process)| *vm &= process);
        }
        assert_eq!(in_process, in_vm, "leaf {leaf:#x}, subleaf {subleaf}");
    }
}

/// Each thread makes a child of its own.
#[test]
fn cpuid_shows_no_more_after_a_snapshot_and_on_every_thread() {
    if is_shown() {
        return;
    }
    // push rbx; mov eax, 0x80000002; cpuid; test eax, eax; jz 2f; ud2; 2: pop rbx; ret: the CPU's name, which the
    // tender keeps back.
    let code = [0x53, 0xb8, 2, 0, 0, 0x80, 0x0f, 0xa2, 0x85, 0xc0, 0x74, 2, 0x0f, 0x0b, 0x5b, 0xc3];
    let host = Arc::new(process_host());
    let image = Arc::new(Image::open(&guest("run_code")).expect("the guest is an image"));
    let arguments = ["run_code", &hexadecimal(&code)].map(OsString::from).to_vec();
    let config = Config { arguments, ..Config::default() };
    let (snapshot, _) = Snapshot::take(&host, &image, &config, Duration::from_secs(60)).expect("a snapshot");
    let mut instance = Instance::resume(&Arc::new(snapshot)).expect("an instance");
    for _ in 0..3 {
        let end = std::thread::scope(|scope| {
            scope.spawn(|| super::machine::run_to_end(&mut instance)).join().expect("it ends")
        });
        assert!(matches!(end, End::Exited(0)), "{end:x?}");
        instance.reset().expect("the instance can be used again");
    }
}
