//! Files whose page tables no tender would have written, with digests that are right.

use super::calls::{MEMORY, Orders, READ_WRITE, host, resume, take};
use super::files::sign;
use super::forging::{ADDRESS, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::scratch::Scratch;
use crate::support::no_kvm;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use coracle_tender::instance::End;
use coracle_tender::layout::{BOOT, PAGE_TABLES};
use coracle_tender::machine::Host;
use coracle_tender::snapshot::format::Header;
use coracle_tender::snapshot::{Refusal, Snapshot};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// A snapshot's file with its memory from `data_offset` on.
struct Forged {
    host: Arc<Host>,
    header: Header,
    file: File,
    scratch: Scratch,
}

impl Forged {
    /// A good one.
    fn new() -> Forged {
        let (host, scratch) = (host(), Scratch::new());
        let path = scratch.path().join("forged");
        take(&host, "traces", MEMORY).save(&path).expect("it is saved");
        let file = File::options().read(true).write(true).open(&path).expect("the file");
        let mut header = [0; size_of::<Header>()];
        file.read_exact_at(&mut header, 0).expect("a header");
        let header = Header::read_from_bytes(&header).expect("a header");
        let forged = Forged { host, header, file, scratch };
        drop(forged.open().expect("it is good"));
        forged
    }

    fn get(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, self.header.data_offset + address).expect("memory");
        u64::from_le_bytes(bytes)
    }

    fn set(&self, address: u64, value: u64) {
        self.file.write_all_at(&value.to_le_bytes(), self.header.data_offset + address).expect("memory");
    }

    /// Where the entries for a guest-virtual address lie, from the highest to the last.
    fn entries(&self, address: u64) -> Vec<u64> {
        let mut table = PAGE_TABLES;
        let mut found = Vec::new();
        for shift in [39, 30, 21, 12] {
            let at = table + (address >> shift & 511) * 8;
            found.push(at);
            let entry = self.get(at);
            if entry & LARGE != 0 {
                break;
            }
            table = entry & ADDRESS;
        }
        found
    }

    /// The address of the last large page of the heap, and where its entry lies.
    fn large_page(&self) -> (u64, u64) {
        let heap = self.header.places[2];
        let address = heap.start + heap.length - LARGE_PAGE;
        let entries = self.entries(address);
        assert_eq!(entries.len(), 3, "it is a large page");
        (address, entries[2])
    }

    /// Puts a table of the large page's parts behind the others, and gives the address of that.
    fn split(&mut self) -> u64 {
        let (_, at) = self.large_page();
        let (table, entry) = (self.header.next_table, self.get(at));
        for index in 0..512 {
            self.set(table + index * 8, (entry & !LARGE) + index * PAGE);
        }
        self.set(at, table | PRESENT | WRITABLE | USER);
        self.header.next_table += PAGE;
        table
    }

    fn open(&self) -> Result<Snapshot, Refusal> {
        let mut head = vec![0; self.header.data_offset as usize];
        self.file.read_exact_at(&mut head, 0).expect("a head");
        head[..size_of::<Header>()].copy_from_slice(self.header.as_bytes());
        sign(&mut head);
        self.file.write_all_at(&head, 0).expect("a head");
        Snapshot::open(&self.host, &self.scratch.path().join("forged")).map_err(|error| error.refusal)
    }

    /// It is malformed, and so it is said.
    #[track_caller]
    fn malformed(&self, text: &str) {
        let refusal = self.open().map(drop).expect_err("no tender's tables");
        assert!(matches!(refusal, Refusal::Malformed(found) if found.contains(text)), "{refusal}");
    }
}

#[test]
fn an_inaccessible_page_that_would_lead_elsewhere_is_refused() {
    if no_kvm() {
        return;
    }
    let mut forged = Forged::new();
    let (_, at) = forged.large_page();
    let good = forged.get(at);
    for target in [PAGE_TABLES, BOOT, PAGE, (good & ADDRESS) ^ LARGE_PAGE, good & !PRESENT] {
        forged.set(at, target);
        forged.malformed("an inaccessible page");
    }
    forged.set(at, good);
    let small = forged.split() + 7 * 8;
    forged.open().expect("a large page may have been split");
    let good = forged.get(small);
    for target in [PAGE_TABLES, BOOT, PAGE, (good & ADDRESS) ^ PAGE, good & !PRESENT] {
        forged.set(small, target);
        forged.malformed("an inaccessible page");
    }
    forged.set(small, good);
    // One that leads to a table, and one that leads to a table of those.
    for at in &forged.entries(forged.header.boot)[..2] {
        let good = forged.get(*at);
        forged.set(*at, good & !PRESENT);
        forged.malformed("an inaccessible page");
        forged.set(*at, good);
    }
    forged.open().expect("it is good again");
}

#[test]
fn a_page_that_is_inaccessible_in_a_snapshot_is_given_back_as_the_one_that_it_was() {
    if no_kvm() {
        return;
    }
    let mut forged = Forged::new();
    let (large, at) = forged.large_page();
    let large_entry = forged.get(at);
    // A large page, all of it and a part; and a small one.
    for (length, split) in [(LARGE_PAGE, false), (PAGE, false), (PAGE, true)] {
        forged.set(at, large_entry & ADDRESS);
        if split {
            forged.set(at, large_entry);
            let table = forged.split();
            forged.set(table, forged.get(table) & ADDRESS);
        }
        let mut instance = resume(&Arc::new(forged.open().expect("a sound file")));
        for _ in 0..2 {
            let answer = Orders::new().rights(large, length, READ_WRITE).fill(large, PAGE, 5).read(large);
            assert_eq!(answer.call_and_reset(&mut instance).words(), [0, 5]);
        }
        let faults = Orders::new().read(large).call(&mut instance);
        assert!(matches!(faults.end, End::Faulted(_)), "{:?}", faults.end);
    }
}

#[test]
fn tables_that_are_in_use_and_handed_out_again_are_refused() {
    if no_kvm() {
        return;
    }
    let mut forged = Forged::new();
    let good = forged.header.next_table;
    for next in (PAGE_TABLES + PAGE..good).step_by(PAGE as usize) {
        forged.header.next_table = next;
        forged.malformed("page tables that lie elsewhere");
    }
    forged.header.next_table = good;
    // One in two places; one that is its own; one of nothing.
    let (heap, at) = forged.large_page();
    let large = forged.get(at);
    forged.set(at, forged.get(forged.entries(forged.header.boot)[2]));
    forged.malformed("page");
    forged.set(at, forged.entries(heap)[2] & ADDRESS | PRESENT | WRITABLE | USER);
    forged.malformed("two");
    forged.header.next_table += PAGE;
    forged.set(at, good | PRESENT | WRITABLE | USER);
    forged.malformed("empty");
    forged.header.next_table = good;
    forged.set(at, large);
    forged.open().expect("it is good again");
}

#[test]
fn pages_larger_than_a_tender_makes_and_pages_of_the_upper_half_are_refused() {
    if no_kvm() {
        return;
    }
    let forged = Forged::new();
    let (heap, _) = forged.large_page();
    for at in &forged.entries(heap)[..2] {
        let good = forged.get(*at);
        for target in [0, 1 << 30] {
            forged.set(*at, target | PRESENT | WRITABLE | USER | LARGE | NO_EXECUTE);
            forged.malformed("size");
        }
        forged.set(*at, good);
    }
    // A bit of its address that a CPU takes for another one.
    let (_, at) = forged.large_page();
    let good = forged.get(at);
    forged.set(at, good | PAGE);
    forged.malformed("size");
    forged.set(at, good);
    // Tables and pages above 1 << 47.
    let table = forged.header.next_table - PAGE;
    for entry in [256, 511] {
        let at = PAGE_TABLES + entry * 8;
        for target in [table | PRESENT | WRITABLE | USER, PAGE_TABLES | LARGE | PRESENT | USER, PAGE_TABLES] {
            forged.set(at, target);
            assert!(forged.open().is_err(), "{entry} {target:#x}");
        }
        forged.set(at, 0);
    }
    let mut forged = forged;
    // A table of the upper half's own, which leads to the PML4.
    let tables = [1, 2, 3].map(|further| forged.header.next_table + (further - 1) * PAGE);
    forged.header.next_table += 3 * PAGE;
    let way = [PAGE_TABLES + 511 * 8, tables[0], tables[1], tables[2]];
    for (at, target) in way.into_iter().zip([tables[0], tables[1], tables[2], PAGE_TABLES]) {
        forged
            .set(at, target | PRESENT | WRITABLE | USER | if target == PAGE_TABLES { NO_EXECUTE } else { 0 });
    }
    forged.malformed("a page that is not the guest's");
}

#[test]
fn tables_in_circles_are_refused_at_once() {
    if no_kvm() {
        return;
    }
    let mut forged = Forged::new();
    // Every entry of either table leads to the other.
    let tables = [0, 1].map(|table| forged.header.next_table + table * PAGE);
    forged.header.next_table += 2 * PAGE;
    for (table, next) in [(tables[0], tables[1]), (tables[1], tables[0])] {
        (0..512).for_each(|entry| forged.set(table + entry * 8, next | PRESENT | WRITABLE | USER));
    }
    let top = forged.entries(forged.header.places[2].start)[0];
    forged.set(top, tables[0] | PRESENT | WRITABLE | USER);
    let begin = Instant::now();
    forged.malformed("two");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
