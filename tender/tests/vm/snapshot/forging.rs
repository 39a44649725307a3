//! Makes snapshots' files of parts, with digests that are right, whatever else they say.

use super::calls::{call_until, host, take};
use super::files::sign;
use crate::scratch::Scratch;
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::Instance;
use coracle_tender::layout::PAGE_TABLES;
use coracle_tender::machine::Host;
use coracle_tender::snapshot::format::{Cpuid, Header, Run};
use coracle_tender::snapshot::{Refusal, Snapshot};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// A snapshot's file in parts.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) header: Header,
    pub(super) cpuid: Vec<Cpuid>,
    pub(super) runs: Vec<Run>,
    pub(super) name: Vec<u8>,
    /// By their numbers. All others are holes of the file.
    pub(super) pages: BTreeMap<u64, [u8; PAGE as usize]>,
}

impl Parts {
    /// Reads what the index names, all else is zero.
    pub(super) fn read(path: &Path) -> Parts {
        let file = File::open(path).expect("a file");
        let read = |at, length| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).expect("the file is long enough");
            bytes
        };
        let header = Header::read_from_bytes(&read(0, size_of::<Header>())).expect("a header");
        let rest = read(Header::LENGTH, (header.data_offset - Header::LENGTH) as usize);
        let (cpuid, rest) = rest.split_at(header.cpuid_count as usize * size_of::<Cpuid>());
        let (runs, rest) = rest.split_at(header.run_count as usize * size_of::<Run>());
        let items = |bytes: &[u8], length| bytes.chunks(length).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let runs: Vec<Run> = items(runs, size_of::<Run>())
            .iter()
            .map(|item| Run::read_from_bytes(item).expect("a run"))
            .collect();
        let page = |number| {
            let bytes = read(header.data_offset + number * PAGE, PAGE as usize);
            (number, bytes.try_into().expect("a page"))
        };
        Parts {
            cpuid: items(cpuid, size_of::<Cpuid>())
                .iter()
                .map(|item| Cpuid::read_from_bytes(item).expect("an entry"))
                .collect(),
            name: rest[..header.name_length as usize].to_vec(),
            pages: runs.iter().flat_map(|run| run.first..run.first + run.count).map(page).collect(),
            runs,
            header,
        }
    }

    /// What the header says of lengths and offsets, which follow from the parts. There is no image.
    pub(super) fn measure(&mut self) {
        let tables = self.cpuid.as_bytes().len() + self.runs.as_bytes().len() + self.name.len();
        self.header.cpuid_count = self.cpuid.len() as u32;
        self.header.run_count = self.runs.len() as u32;
        self.header.name_length = self.name.len() as u32;
        self.header.data_offset = (Header::LENGTH + tables as u64).next_multiple_of(PAGE);
        self.header.page_count = self.runs.iter().map(|run| run.count).sum();
        self.header.image_length = 0;
        self.set_memory(self.header.memory);
    }

    /// Names this much memory.
    pub(super) fn set_memory(&mut self, memory: u64) {
        self.header.memory = memory;
        self.header.image_offset = self.header.data_offset.wrapping_add(memory);
    }

    /// Names all memory in the index, zeros included.
    pub(super) fn index_all(&mut self) {
        self.runs = vec![Run { first: 0, count: self.header.memory / PAGE }];
        self.measure();
    }

    /// Writes it, with the digest that the head has, and as long as it says where a file can be.
    pub(super) fn write(&self, path: &Path) {
        let tables = [self.header.as_bytes(), self.cpuid.as_bytes(), self.runs.as_bytes(), &self.name];
        let mut head = tables.concat();
        head.resize(head.len().next_multiple_of(PAGE as usize), 0);
        sign(&mut head);
        let file = File::create(path).expect("a file");
        let write = |bytes: &[u8], at| file.write_all_at(bytes, at).expect("it is written");
        write(&head, 0);
        for (number, page) in &self.pages {
            write(page, head.len() as u64 + number * PAGE);
        }
        if let Some(length) = self.header.image_offset.checked_add(self.header.image_length) {
            let _ = file.set_len(length);
        }
    }

    /// The eight bytes at a guest-physical address.
    pub(super) fn word(&mut self, address: u64) -> &mut [u8; 8] {
        let page = self.pages.entry(address / PAGE).or_insert([0; PAGE as usize]);
        let at = (address % PAGE) as usize;
        (&mut page[at..at + 8]).try_into().expect("eight bytes")
    }

    pub(super) fn get(&mut self, address: u64) -> u64 {
        u64::from_le_bytes(*self.word(address))
    }

    pub(super) fn set(&mut self, address: u64, value: u64) {
        *self.word(address) = value.to_le_bytes();
    }

    /// Where the entries for a guest-virtual address lie, from the highest to the last.
    pub(super) fn entries(&mut self, address: u64) -> Vec<u64> {
        let mut table = PAGE_TABLES;
        let mut found = Vec::new();
        for shift in [39, 30, 21, 12] {
            let at = table + (address >> shift & 511) * 8;
            let entry = self.get(at);
            assert_ne!(entry & PRESENT, 0, "{address:#x} is not mapped");
            found.push(at);
            if entry & LARGE != 0 {
                break;
            }
            table = entry & ADDRESS;
        }
        found
    }

    /// Where the last of them lies.
    pub(super) fn entry(&mut self, address: u64) -> u64 {
        self.entries(address).pop().expect("an entry")
    }
}

/// Bits of a page-table entry.
pub(super) const PRESENT: u64 = 1;
pub(super) const WRITABLE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const LARGE: u64 = 1 << 7;
pub(super) const NO_EXECUTE: u64 = 1 << 63;
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The memory of the guests.
pub(super) const MEMORY: u64 = 16 << 20;

/// A good snapshot to forge from, and what opens it.
pub(super) struct Bed {
    pub(super) host: Arc<Host>,
    pub(super) good: Parts,
    pub(super) scratch: Scratch,
}

impl Bed {
    pub(super) fn new() -> Bed {
        let (host, scratch) = (host(), Scratch::new());
        let file = scratch.path().join("good");
        take(&host, "fresh", MEMORY).save(&file).expect("it is saved");
        let mut good = Parts::read(&file);
        good.measure();
        let bed = Bed { host, good, scratch };
        bed.run(&bed.good).expect("without its image it is as good");
        bed
    }

    /// Opens a file of these parts.
    pub(super) fn open(&self, parts: &Parts) -> Result<Snapshot, Refusal> {
        let path = self.scratch.path().join("forged");
        parts.write(&path);
        Snapshot::open(&self.host, &path).map_err(|error| error.refusal)
    }

    /// Opens it, and runs what is in it for a moment.
    pub(super) fn run(&self, parts: &Parts) -> Result<(), Refusal> {
        let snapshot = Arc::new(self.open(parts)?);
        if let Ok(mut instance) = Instance::resume(&snapshot) {
            for _ in 0..2 {
                let deadline = Instant::now() + Duration::from_millis(20);
                call_until(&mut instance, &[1; 8], deadline, None);
                if instance.reset().is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Why a good file with this change is not opened.
    #[track_caller]
    pub(super) fn refusal(&self, change: impl FnOnce(&mut Parts)) -> Refusal {
        let mut parts = self.good.clone();
        change(&mut parts);
        match self.open(&parts) {
            Ok(_) => panic!("it is opened"),
            Err(refusal) => refusal,
        }
    }

    /// A good file with this change is malformed.
    #[track_caller]
    pub(super) fn malformed(&self, change: impl FnOnce(&mut Parts)) {
        let refusal = self.refusal(change);
        assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}");
    }
}
