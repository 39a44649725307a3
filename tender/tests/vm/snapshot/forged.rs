//! Files that say of themselves what no tender would have written, with digests that are right.

use super::calls::{PATIENCE, call_until, resume, take};
use super::forging::{ADDRESS, Bed, MEMORY, NO_EXECUTE, PRESENT, Parts, USER, WRITABLE};
use super::fresh::run;
use crate::lane::{self, times};
use crate::library::alone;
use crate::support::no_kvm;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use coracle_tender::instance::{End, Instance};
use coracle_tender::layout::{
    BOOT, EDIT_LIST, EXTENDED_OFFSET, PAGE_TABLES, Physical, STUB, TABLES, TARGET_OFFSET,
};
use coracle_tender::snapshot::format::{Header, Range, Run};
use coracle_tender::snapshot::{Refusal, Snapshot};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;
use std::time::Instant;
use zerocopy::IntoBytes;

#[test]
fn a_snapshot_of_another_contract_backend_or_cpu_is_refused() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    let refusal = bed.refusal(|parts| parts.header.abi.major += 1);
    assert!(matches!(refusal, Refusal::Contract(_)), "{refusal}");
    let refusal = bed.refusal(|parts| parts.header.abi.minor += 1);
    assert!(matches!(refusal, Refusal::Contract(_)), "{refusal}");
    let refusal = bed.refusal(|parts| parts.header.backend = 9);
    assert!(matches!(refusal, Refusal::Backend(9)), "{refusal}");
    let refusal = bed.refusal(|parts| parts.header.version = 0);
    assert!(matches!(refusal, Refusal::Version(0)), "{refusal}");
    let refusal = bed.refusal(|parts| parts.header.xcr0 ^= 1 << 9);
    assert!(matches!(refusal, Refusal::Cpu(_)), "{refusal}");
    for leaf in [1, 7, 0x8000_0001] {
        let refusal = bed.refusal(|parts| {
            let entry = parts.cpuid.iter_mut().find(|entry| entry.leaf == leaf).expect("the leaf is there");
            // One that this CPU does not have, or that guests are not shown.
            entry.values[2] |= 1 << entry.values[2].trailing_ones();
        });
        assert!(matches!(refusal, Refusal::Cpu(_)), "{leaf:#x}: {refusal}");
    }
    // What it does not need, it may lack.
    let mut parts = bed.good.clone();
    let one = parts.cpuid.iter_mut().find(|entry| entry.leaf == 1).expect("leaf 1");
    one.values[2] &= !(1 << 20);
    bed.run(&parts).expect("a CPU with more features will do");
}

#[test]
fn memory_that_no_machine_has_is_refused() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    let memory = bed.host.most_memory() + LARGE_PAGE;
    let refusal = bed.refusal(|parts| parts.set_memory(memory));
    assert!(matches!(refusal, Refusal::Memory(_)), "{refusal}");
    // No file has as much.
    for memory in [u64::MAX, u64::MAX / LARGE_PAGE * LARGE_PAGE, 1 << 63] {
        let refusal = bed.refusal(|parts| parts.set_memory(memory));
        let right = matches!(refusal, Refusal::Malformed(_) | Refusal::Length { .. });
        assert!(right, "{memory:#x}: {refusal}");
    }
    for memory in [0, bed.good.header.memory + PAGE, LARGE_PAGE, bed.host.most_memory()] {
        bed.malformed(|parts| parts.set_memory(memory));
        bed.malformed(|parts| parts.header.memory = memory);
    }
}

#[test]
fn fields_that_no_tender_writes_are_refused() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    for value in [0, 1, PAGE - 1, 1 << 47, u64::MAX, u64::MAX - PAGE + 1] {
        for place in 0..4 {
            bed.malformed(|parts| parts.header.places[place].start = value);
            bed.malformed(|parts| parts.header.places[place].length = value);
        }
        bed.malformed(|parts| parts.header.image_pages = value);
        bed.malformed(|parts| parts.header.boot = value);
        bed.malformed(|parts| parts.header.next_table = value);
    }
    for place in 0..4 {
        bed.malformed(|parts| parts.header.places.swap(place, (place + 1) % 4));
    }
    bed.malformed(|parts| parts.header.stack_skip = PAGE);
    bed.malformed(|parts| parts.header.permissions = u32::MAX);
    bed.malformed(|parts| parts.header.program = u32::MAX);
    bed.malformed(|parts| parts.header.subscribed = u64::MAX);
    bed.malformed(|parts| parts.header.flags = u32::MAX);
    bed.malformed(|parts| parts.header.reserved = 1);
    bed.malformed(|parts| parts.header.fs_base = 1 << 47);
    bed.malformed(|parts| parts.header.gs_base = u64::MAX);
    bed.malformed(|parts| parts.header.registers[16] = 1 << 63);
    for selector in [0x08, 0x10, 0x18, 0x28, 0x33, 0xffff] {
        for index in 0..4 {
            bed.malformed(|parts| parts.header.selectors[index] = selector);
        }
    }
}

#[test]
fn code_at_cpl_0_and_descriptors_of_ones_own_are_refused() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    for address in [TABLES, TABLES + 0x28, STUB, STUB + 0x40, STUB + PAGE - 8] {
        bed.malformed(|parts| {
            let value = parts.get(address);
            parts.set(address, value ^ 1);
        });
    }
    bed.malformed(|parts| parts.set(EDIT_LIST, 1));
    bed.malformed(|parts| parts.set(BOOT + TARGET_OFFSET, 0x1000));
}

#[test]
fn page_tables_that_give_the_guest_what_is_not_its_own_are_refused() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    let header = bed.good.header;
    let [image, stack, heap, system] = header.places.map(|range| range.start);
    let change = |address: u64, change: fn(u64) -> u64| {
        bed.malformed(|parts| {
            let at = parts.entry(address);
            let entry = parts.get(at);
            assert_ne!(change(entry), entry);
            parts.set(at, change(entry));
        });
    };
    // The system place for CPL 3: every entry on the way has a say. And elsewhere.
    for place in [system, system + PAGE_TABLES] {
        bed.malformed(|parts| {
            for at in parts.entries(place) {
                let entry = parts.get(at);
                parts.set(at, entry | USER);
            }
        });
    }
    change(system, |entry| entry ^ PAGE);
    for place in [stack, heap] {
        // Writable and executable; not the guest's; another page; tables of the system.
        change(place, |entry| entry & !NO_EXECUTE);
        change(place, |entry| entry & !NO_EXECUTE & !WRITABLE);
        change(place, |entry| entry & !USER);
        change(place, |entry| entry ^ LARGE_PAGE);
        change(place, |entry| entry & !ADDRESS);
    }
    change(image, |entry| entry & !NO_EXECUTE | WRITABLE);
    change(header.boot, |entry| entry | WRITABLE);
    change(header.boot + PAGE, |entry| entry | WRITABLE);
    change(header.boot, |entry| entry & !ADDRESS | PAGE_TABLES);
    // A table that is one of itself, or lies elsewhere.
    for target in [PAGE_TABLES, TABLES, BOOT, 1 << 40] {
        bed.malformed(|parts| {
            let at = PAGE_TABLES + (heap >> 39) * 8;
            parts.set(at, target | PRESENT | WRITABLE | USER);
        });
    }
    // A further way to what is mapped already.
    bed.malformed(|parts| {
        let free = (0..256).find(|slot| parts.get(PAGE_TABLES + slot * 8) == 0).expect("a free slot");
        let entry = parts.get(PAGE_TABLES + (heap >> 39) * 8);
        parts.set(PAGE_TABLES + free * 8, entry);
    });
}

/// A good file that names this much memory and divides it as a tender would.
fn with_memory(good: &Parts, memory: u64) -> Parts {
    let mut parts = good.clone();
    let physical = Physical::divide(memory, parts.header.image_pages).expect("memory enough");
    let lengths = [physical.image.length, physical.stack.length, physical.heap.length, physical.system_end];
    // The system place stays, since descriptors name it; the others are far from it and each other.
    let system = parts.header.places[3].start;
    let mut slots = [64, 128, 192].map(|further| ((system >> 39) + further) % 256);
    slots.sort_unstable();
    let [heap, image, stack] = slots.map(|slot| (slot << 39) + 4 * LARGE_PAGE);
    for (index, (start, length)) in [image, stack, heap, system].into_iter().zip(lengths).enumerate() {
        parts.header.places[index] = Range { start, length };
    }
    parts.header.boot = parts.header.places[0].start - 2 * PAGE;
    parts.set_memory(memory);
    parts
}

#[test]
fn page_tables_that_lead_in_circles_through_much_memory_are_refused_soon() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    let memory = bed.host.most_memory().min(1 << 40);
    // Every entry of every table leads to the next table, and those of the last to nothing, or to a page.
    for last in [0, BOOT | PRESENT | USER | NO_EXECUTE, PRESENT | WRITABLE | NO_EXECUTE] {
        let mut parts = with_memory(&bed.good, memory);
        for (table, entry) in [1, 2, 3]
            .map(|next| (PAGE_TABLES + next * PAGE) | PRESENT | WRITABLE | USER)
            .into_iter()
            .chain([last])
            .enumerate()
        {
            let table = PAGE_TABLES + table as u64 * PAGE;
            (table..table + PAGE).step_by(8).for_each(|at| parts.set(at, entry));
        }
        // An index that names all memory costs nothing.
        for all in [false, true] {
            if all {
                parts.index_all();
            }
            let refusal = bed.open(&parts).map(drop).expect_err("no tender's tables");
            assert!(matches!(refusal, Refusal::Malformed(text) if text.contains("page")), "{refusal}");
        }
    }
}

#[test]
fn extended_state_that_no_cpu_takes_ends_the_guest() {
    if no_kvm() {
        return;
    }
    let bed = Bed::new();
    // MXCSR, of which QEMU takes any value; which components there are, and whether they are compacted; what
    // is reserved.
    for (offset, value) in [(24, u64::MAX), (512, u64::MAX), (520, 1 << 63), (528, u64::MAX)] {
        let mut parts = bed.good.clone();
        parts.set(BOOT + EXTENDED_OFFSET + offset, value);
        let snapshot = Arc::new(bed.open(&parts).expect("nobody looks at it"));
        let mut instance = Instance::resume(&snapshot).expect("an instance");
        let answer = call_until(&mut instance, &[], Instant::now() + PATIENCE, None);
        let taken = offset == 24 && lane::is_qemu() && matches!(answer.end, End::Responded);
        assert!(taken || matches!(answer.end, End::Faulted(_)), "{offset}: {:?}", answer.end);
    }
}

/// A change of a file at random.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Bytes of the header.
    Header {
        at: usize,
        value: u64,
    },
    /// Another value for a word of a page of tables or stub.
    System {
        word: u64,
        value: u64,
    },
    /// Another value for any word of the pages that are not zero.
    Word {
        word: usize,
        value: u64,
    },
    /// A value in any page, which may be outside of the index.
    Page {
        page: u64,
        value: u64,
    },
    Run {
        index: usize,
        first: u64,
        count: u64,
    },
    Cpuid {
        index: usize,
        word: usize,
        value: u32,
    },
}

fn value() -> impl Strategy<Value = u64> {
    let edges = vec![0, 1, PAGE, LARGE_PAGE, 16 << 20, 1 << 39, 1 << 46, 1 << 47, 1 << 63, u64::MAX];
    prop_oneof![
        select(edges),
        any::<u64>(),
        0..64_u64,
        (0..4096_u64, any::<u16>()).prop_map(|(page, flags)| (page * PAGE) | (u64::from(flags) & 0xfff)),
        (0..64_u32).prop_map(|bit| 1 << bit),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let header = size_of::<Header>() - 8;
    let pages = MEMORY / PAGE;
    prop_oneof![
        4 => (0..header / 4, value()).prop_map(|(at, value)| Change::Header { at: at * 4, value }),
        4 => (0..64 * 512_u64, value()).prop_map(|(word, value)| Change::System { word, value }),
        2 => (any::<usize>(), value()).prop_map(|(word, value)| Change::Word { word, value }),
        1 => (0..pages, value()).prop_map(|(page, value)| Change::Page { page, value }),
        1 => (any::<usize>(), value(), value()).prop_map(|(index, first, count)| Change::Run { index, first, count }),
        1 => (any::<usize>(), 0..6_usize, any::<u32>())
            .prop_map(|(index, word, value)| Change::Cpuid { index, word, value }),
    ]
}

impl Change {
    fn make(self, parts: &mut Parts) {
        match self {
            Change::Header { at, value } => {
                let memory = parts.header.memory;
                parts.header.as_mut_bytes()[at..at + 8].copy_from_slice(&value.to_le_bytes());
                if parts.header.memory != memory {
                    parts.set_memory(parts.header.memory);
                }
            }
            Change::System { word, value } => parts.set(word * 8, value),
            Change::Word { word, value } => {
                let (page, at) = (word / 512 % parts.pages.len(), word % 512 * 8);
                let number = *parts.pages.keys().nth(page).expect("a page");
                parts.set(number * PAGE + at as u64, value);
            }
            Change::Page { page, value } => parts.set(page * PAGE, value),
            Change::Run { index, first, count } => {
                let index = index % parts.runs.len();
                parts.runs[index] = Run { first, count };
            }
            Change::Cpuid { index, word, value } => {
                let index = index % parts.cpuid.len();
                parts.cpuid[index].as_mut_bytes()[word * 4..][..4].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

#[test]
fn a_file_with_random_changes_is_refused_or_runs_as_guests_do() {
    if no_kvm() {
        return;
    }
    let cases = std::env::var("CORACLE_PROPTEST_CASES").ok();
    let cases = cases.map_or_else(|| times(300, 20), |cases| cases.parse::<u32>().expect("a number") / 30);
    let bed = Bed::new();
    let changes = proptest::collection::vec(change(), 1..4);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&changes, |changes| {
        let mut parts = bed.good.clone();
        changes.iter().for_each(|change| change.make(&mut parts));
        let begin = Instant::now();
        let _ = bed.run(&parts);
        prop_assert!(begin.elapsed() < PATIENCE);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn opening_does_not_read_the_pages() {
    if no_kvm() {
        return;
    }
    const MEMORY: u64 = 4 << 30;
    let name = "snapshot::forged::opening_does_not_read_the_pages";
    // What a process has read is counted for all of it.
    alone(name, || {
        let bed = Bed::new();
        let path = bed.scratch.path().join("large");
        take(&bed.host, "fresh", MEMORY).save(&path).expect("it is saved");
        let mut parts = Parts::read(&path);
        // All memory is in the index too, most of it a hole of the file.
        parts.index_all();
        parts.write(&path);
        let before = bytes_read();
        let snapshot = Snapshot::open(&bed.host, &path).expect("a good snapshot");
        let read = bytes_read() - before;
        assert!(read < 32 << 20, "{read} bytes were read");
        assert_eq!(snapshot.shared(), MEMORY);
        run(&mut resume(&Arc::new(snapshot)));
    });
}

/// How many bytes this process has had read by system calls.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").expect("counts");
    let count = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
    count.parse().expect("a number")
}
