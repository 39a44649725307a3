//! No file makes the tender panic, hang, or take much memory.

use crate::builder::*;
use crate::largest::largest_allocation;
use coracle_hypercall::memory::{PAGE, Rights};
use coracle_tender::image::inspect::Inspection;
use coracle_tender::image::{Image, ImageError, Refusal};
use proptest::prelude::*;
use proptest::sample::select;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// More than any step asks for with a file of a few kilobytes; a forged size asks for more.
const MUCH: usize = 256 << 10;

/// What holds for every image that is opened, however odd it is. Tells whether it was loaded too.
fn check_promises(image: &Image) -> bool {
    let span = image.span();
    assert!(span.start.is_multiple_of(PAGE) && span.length.is_multiple_of(PAGE));
    assert!(span.length <= 1 << 40 && span.end() <= 1 << 46);
    assert!(image.align().is_power_of_two() && image.align() >= PAGE);
    let mut last = span.start;
    let mut entry = false;
    for run in image.pages() {
        assert!(run.start >= last && run.length > 0 && run.end() <= span.end());
        assert!(run.start.is_multiple_of(PAGE) && run.length.is_multiple_of(PAGE));
        assert!(run.rights.contains(Rights::READ));
        assert!(!run.rights.contains(Rights::WRITE | Rights::EXECUTE));
        entry |= run.rights.contains(Rights::EXECUTE) && (run.start..run.end()).contains(&image.entry());
        last = run.end();
    }
    assert!(entry);
    let loaded = image.load(&mut Bounds(span.length), 0).is_ok();
    assert_eq!(image.check_relocations().is_ok(), loaded);
    loaded
}

/// Opens, loads and inspects a file, and tells whether it was taken.
fn try_all(bytes: &[u8]) -> bool {
    let mut taken = false;
    let largest = largest_allocation(|| {
        if let Ok(image) = open(bytes) {
            taken = check_promises(&image);
        }
        let inspection = Inspection::of_file(file(bytes), PathBuf::from("guest")).unwrap();
        assert_eq!(inspection.refusal.is_none(), taken);
        assert!(!inspection.to_string().is_empty());
    });
    assert!(largest < MUCH, "{largest} bytes were allocated at once");
    taken
}

#[test]
fn every_truncation_is_refused() {
    let bytes = Elf { relr: vec![0x2110], ..Elf::good() }.bytes();
    assert!(try_all(&bytes));
    for length in 0..bytes.len() {
        assert!(!try_all(&bytes[..length]), "{length} bytes were taken");
    }
}

#[test]
fn every_flip_of_one_bit_does_no_harm() {
    let bytes = Elf { relr: vec![0x2110], ..Elf::good() }.bytes();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        try_all(&flipped);
    }
}

#[test]
fn a_file_that_is_cut_after_it_was_opened_gives_an_error() {
    let file = file(&Elf::good().bytes());
    let image = Image::from_file(file.try_clone().unwrap(), PathBuf::from("guest")).unwrap();
    file.set_len(0x900).unwrap();
    let error = image.load(&mut Memory(vec![0; 0x5000]), 0).unwrap_err();
    assert!(matches!(error.refusal, Refusal::Read { .. }), "{error}");
}

#[test]
fn tables_in_a_vast_hole_of_the_file_take_neither_memory_nor_time() {
    const HOLE: u64 = 1 << 39;
    for sizes in [[(8, 24 * (4 << 20)), (35, 0)], [(8, 0), (35, 8 * (4 << 20))], [(8, HOLE), (35, HOLE)]] {
        let mut elf = Elf::good();
        elf.add_segment(R, 0x10_0000, HOLE);
        let segment = elf.load(3);
        (segment.offset, segment.file_size) = (0x1000, HOLE);
        elf.dynamic = vec![(7, 0x10_0000), (36, 0x10_0000)];
        elf.dynamic.extend(sizes);
        let file = file(&elf.bytes());
        file.set_len(HOLE + 0x1000).unwrap();
        let largest = largest_allocation(|| drop(open_and_load(file)));
        assert!(largest < MUCH, "{largest} bytes were allocated at once");
    }
}

fn open_and_load(file: File) -> Result<(), ImageError> {
    let image = Image::from_file(file, PathBuf::from("guest"))?;
    image.load(&mut Bounds(image.span().length), 0)
}

/// An image whose packed relocations, each a set of 63, stand for `sets` times as many words. The
/// data that they are for is a hole of the file, loaded many times over.
fn with_sets(sets: u64) -> File {
    const HOLE: u64 = 32 << 20;
    const TABLE: u64 = 0x1000;
    const DATA: u64 = 1 << 30;
    let length = 8 * (sets + 1);
    let mut elf = Elf { rela: Vec::new(), ..Elf::good() };
    elf.add_segment(R, 0x10_0000, length);
    (elf.load(3).offset, elf.load(3).file_size) = (TABLE, length);
    for index in 0..8 {
        elf.add_segment(RW, DATA + index * HOLE, HOLE);
        (elf.load(4 + index as usize).offset, elf.load(4 + index as usize).file_size) = (TABLE, HOLE);
    }
    elf.dynamic = vec![(36, 0x10_0000), (35, length), (37, 8)];
    let file = file(&elf.bytes());
    file.set_len(TABLE + HOLE).unwrap();
    let mut table = vec![0xff; length as usize];
    table[..8].copy_from_slice(&DATA.to_le_bytes());
    file.write_all_at(&table, TABLE).unwrap();
    file
}

#[test]
fn packed_relocations_take_no_memory_and_are_counted_one_by_one() {
    let start = Instant::now();
    let mut refusal = None;
    let largest = largest_allocation(|| {
        assert!(open_and_load(with_sets(1000)).is_ok());
        let file = with_sets(512 << 10);
        let inspection = Inspection::of_file(file.try_clone().unwrap(), PathBuf::from("guest")).unwrap();
        assert!(inspection.refusal.is_some_and(|refusal| refusal.contains("4194304 relocations")));
        refusal = open_and_load(file).err();
    });
    assert!(matches!(refusal.unwrap().refusal, Refusal::TooManyRelocations { most: 4_194_304, .. }));
    // The table itself is made here, once.
    assert!(largest < (5 << 20), "{largest} bytes were allocated at once");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn as_many_packed_relocations_as_are_taken_are_loaded_without_memory_for_them() {
    const SETS: u64 = (4 << 20) / 63 - 1;
    let file = with_sets(SETS);
    let mut image = None;
    let largest = largest_allocation(|| {
        let opened = Image::from_file(file, PathBuf::from("guest")).unwrap();
        opened.load(&mut Bounds(opened.span().length), 0).unwrap();
        image = Some(opened);
    });
    assert!(largest < MUCH, "{largest} bytes were allocated at once");
    let counts = image.unwrap().check_relocations().unwrap();
    assert_eq!([counts.packed, counts.relative], [SETS * 63 + 1; 2]);
}

/// Values that numbers in headers break on.
fn edge() -> impl Strategy<Value = u64> {
    let near = select(vec![0u64, 0x800, 0xb00, 0x1000, 0x2000, 0x5000, 1 << 16, 1 << 40, 1 << 46, 1 << 63]);
    (near, -24i64..=24).prop_map(|(value, off)| value.wrapping_add_signed(off))
}

/// A change to a file: bytes put at an offset.
fn change() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let header = 0..0x240usize;
    let tables =
        select(vec![0x400usize, 0x500, 0x600, 0x780, 0x900]).prop_flat_map(|start| start..start + 0x80);
    let field = (0..0x240usize / 8).prop_map(|index| index * 8);
    prop_oneof![
        3 => (header, any::<u8>()).prop_map(|(offset, byte)| (offset, vec![byte])),
        2 => (tables.clone(), any::<u8>()).prop_map(|(offset, byte)| (offset, vec![byte])),
        3 => (field, edge()).prop_map(|(offset, value)| (offset, value.to_le_bytes().to_vec())),
        2 => (tables.prop_map(|offset| offset & !7), edge())
            .prop_map(|(offset, value)| (offset, value.to_le_bytes().to_vec())),
    ]
}

fn cases() -> u32 {
    std::env::var("CORACLE_PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_to_headers_and_tables_do_no_harm(
        fixed in any::<bool>(),
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let good = if fixed { Elf::fixed() } else { Elf { relr: vec![0x2110, 7], ..Elf::good() } };
        let mut bytes = good.bytes();
        for (offset, change) in changes {
            bytes[offset..offset + change.len()].copy_from_slice(&change);
        }
        try_all(&bytes);
    }
}
