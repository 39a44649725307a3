//! Files of snapshots that were cut or damaged are told from sound ones. None of it needs KVM.

use coracle_hypercall::memory::PAGE;
use coracle_hypercall::version;
use coracle_tender::snapshot::format::{BACKEND_KVM, Header, MAGIC, READY, Run, VERSION};
use coracle_tender::snapshot::{Refusal, Snapshot, SnapshotError};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use tempfile::NamedTempFile;
use zerocopy::{FromZeros, IntoBytes};

/// The pages of memory that the small file has, three of them in its index, and the length of its image.
const PAGES: u64 = 10;
const IMAGE: usize = 100;

/// A small file whose digests are right: three pages in two runs, with zeros around them, and an image.
fn sound() -> Vec<u8> {
    let runs = [Run { first: 2, count: 1 }, Run { first: 6, count: 2 }];
    let name = b"a/program";
    let tables = [runs.as_bytes(), name].concat();
    let data_offset = (Header::LENGTH + tables.len() as u64).next_multiple_of(PAGE);
    let image = [0xee; IMAGE];
    let mut memory = vec![0; (PAGES * PAGE) as usize];
    let mut digest = Sha256::new();
    for run in runs {
        let pages = &mut memory[(run.first * PAGE) as usize..][..(run.count * PAGE) as usize];
        pages.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index / 7) as u8);
        digest.update(pages);
    }
    digest.update(image);
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        abi: version::CURRENT,
        backend: BACKEND_KVM,
        flags: READY,
        run_count: runs.len() as u32,
        name_length: name.len() as u32,
        data_offset,
        page_count: 3,
        image_offset: data_offset + PAGES * PAGE,
        image_length: image.len() as u64,
        memory: PAGES * PAGE,
        body_digest: digest.finalize().into(),
        ..Header::new_zeroed()
    };
    let mut bytes = [header.as_bytes(), &tables].concat();
    bytes.resize(data_offset as usize, 0);
    sign(&mut bytes);
    bytes.extend(memory);
    bytes.extend(image);
    bytes
}

/// Where the memory begins in a file as long as the small one.
fn data(bytes: &[u8]) -> usize {
    bytes.len() - (PAGES * PAGE) as usize - IMAGE
}

/// Puts the digest of a head into it.
pub(super) fn sign(head: &mut [u8]) {
    let digest = offset_of!(Header, head_digest)..offset_of!(Header, body_digest);
    head[digest.clone()].fill(0);
    let value: [u8; 32] = Sha256::digest(&*head).into();
    head[digest].copy_from_slice(&value);
}

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("it is written");
    file
}

fn verify(bytes: &[u8]) -> Result<(), Refusal> {
    Snapshot::verify(file(bytes).path(), |_, _| {}).map_err(|SnapshotError { refusal, .. }| refusal)
}

#[test]
fn a_sound_file_is_verified() {
    let bytes = sound();
    let mut seen = Vec::new();
    let file = file(&bytes);
    Snapshot::verify(file.path(), |done, all| seen.push((done, all))).expect("a sound file");
    // Zeros between the pages of the index are not counted.
    let all = 3 * PAGE + IMAGE as u64;
    assert_eq!(seen.last(), Some(&(all, all)));
    assert!(Snapshot::is_one(file.as_file()).expect("it can be read"));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sound();
    // All lengths within the head, then a sample.
    let head = size_of::<Header>();
    for length in (0..head + 200).chain((head + 200..bytes.len()).step_by(61)).chain([bytes.len() - 1]) {
        let refusal = verify(&bytes[..length]).expect_err("a file that was cut");
        let right = if length < MAGIC.len() {
            matches!(refusal, Refusal::NotASnapshot)
        } else {
            matches!(refusal, Refusal::Length { actual, .. } if actual == length as u64)
        };
        assert!(right, "{length} bytes: {refusal}");
    }
}

#[test]
fn a_file_that_goes_on_after_its_end_is_refused() {
    let bytes = [sound(), vec![0]].concat();
    assert!(matches!(verify(&bytes), Err(Refusal::Length { .. })));
}

#[test]
fn every_flip_of_one_bit_in_the_head_is_found() {
    let bytes = sound();
    let data = data(&bytes);
    let bits = (0..8 * size_of::<Header>()).chain((8 * size_of::<Header>()..8 * data).step_by(41));
    for bit in bits {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refusal = verify(&flipped).expect_err("a head that was changed");
        // Magic, version and the lengths are looked at before the digest.
        let early = bit / 8 < offset_of!(Header, image_pages);
        assert!(early || matches!(refusal, Refusal::Head), "bit {bit}: {refusal}");
    }
}

#[test]
fn a_flipped_bit_in_a_page_or_in_the_image_is_found() {
    let bytes = sound();
    for byte in (data(&bytes)..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << (byte % 8);
        assert!(matches!(verify(&flipped), Err(Refusal::Body)), "byte {byte}");
    }
}

#[test]
fn data_in_pages_outside_of_the_index_is_found() {
    let bytes = sound();
    let data = data(&bytes);
    for page in [0, 1, 3, 4, 5, 8, PAGES - 1] {
        for offset in [0, 1234, PAGE - 1] {
            let mut changed = bytes.clone();
            let byte = &mut changed[data + (page * PAGE + offset) as usize];
            assert_eq!(*byte, 0, "page {page} is in the index");
            *byte = 1;
            assert!(matches!(verify(&changed), Err(Refusal::Body)), "page {page}, byte {offset}");
        }
    }
}

#[test]
fn zeros_outside_of_the_index_may_be_holes_of_any_length() {
    // What was a page at the end of memory is one in the midst of much.
    const MEMORY: u64 = 1 << 40;
    let bytes = with(|header| {
        header.memory = MEMORY;
        header.image_offset = header.data_offset + MEMORY;
    });
    let (data, image) = (data(&bytes), bytes.len() - IMAGE);
    let file = file(&bytes[..image]);
    let verify = || Snapshot::verify(file.path(), |_, _| {}).map_err(|error| error.refusal);
    file.as_file().write_all_at(&bytes[image..], data as u64 + MEMORY).expect("it is written");
    verify().expect("a sound file");
    file.as_file().write_all_at(&[1], data as u64 + MEMORY / 2).expect("it is written");
    assert!(matches!(verify(), Err(Refusal::Body)));
}

#[test]
fn what_is_no_snapshot_is_said_to_be_none() {
    for bytes in [&b""[..], b"\x7fELF", &[0; 5000], b"CORACLET and more"] {
        assert!(matches!(verify(bytes), Err(Refusal::NotASnapshot)));
        assert!(!Snapshot::is_one(file(bytes).as_file()).expect("it can be read"));
    }
    let directory = Snapshot::verify("/".as_ref(), |_, _| {}).expect_err("a directory");
    assert!(matches!(directory.refusal, Refusal::NotASnapshot), "{directory}");
    let nothing = Snapshot::verify("/nowhere".as_ref(), |_, _| {}).expect_err("no file");
    assert!(matches!(nothing.refusal, Refusal::Read(_)), "{nothing}");
}

/// Changes the header of a sound file, whose digest is right again afterwards.
fn with(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut bytes = sound();
    let mut header = Header::new_zeroed();
    header.as_mut_bytes().copy_from_slice(&bytes[..size_of::<Header>()]);
    let data = header.data_offset as usize;
    change(&mut header);
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    sign(&mut bytes[..data]);
    bytes
}

#[test]
fn lengths_that_no_snapshot_has_are_refused_before_they_cost_anything() {
    let malformed = |bytes: &[u8]| matches!(verify(bytes), Err(Refusal::Malformed(_)));
    assert!(malformed(&with(|header| header.cpuid_count = u32::MAX)));
    assert!(malformed(&with(|header| header.run_count = u32::MAX)));
    assert!(malformed(&with(|header| header.name_length = u32::MAX)));
    assert!(malformed(&with(|header| header.data_offset = u64::MAX)));
    assert!(malformed(&with(|header| header.data_offset = 0)));
    assert!(malformed(&with(|header| header.page_count = u64::MAX)));
    assert!(malformed(&with(|header| header.page_count = 2)));
    assert!(malformed(&with(|header| header.image_offset = 0)));
    assert!(malformed(&with(|header| header.image_length = u64::MAX)));
    assert!(malformed(&with(|header| header.run_count = 1)));
    for memory in [0, (PAGES - 1) * PAGE, (PAGES + 1) * PAGE, u64::MAX] {
        assert!(malformed(&with(|header| header.memory = memory)));
    }
    let more = with(|header| (header.memory, header.image_offset) = (u64::MAX, header.data_offset - 1));
    assert!(malformed(&more));
    let more = with(|header| {
        header.memory += PAGE;
        header.image_offset += PAGE;
    });
    assert!(matches!(verify(&more), Err(Refusal::Length { .. })));
    let longer = with(|header| header.image_length += 1);
    assert!(matches!(verify(&longer), Err(Refusal::Length { .. })));
    let newer = with(|header| header.version += 1);
    assert!(matches!(verify(&newer), Err(Refusal::Version(2))));
}

#[test]
fn runs_of_pages_that_overlap_or_lie_beyond_memory_are_refused() {
    let place = size_of::<Header>();
    let forged = [
        [(2, 1), (2, 2)],
        [(2, 1), (1, 2)],
        [(7, 1), (6, 2)],
        [(2, 1), (PAGES - 1, 2)],
        [(2, 1), (u64::MAX, 2)],
        [(2, 1), (6, u64::MAX)],
        [(2, 3), (6, 0)],
        [(2, 2), (6, 2)],
    ];
    for runs in forged {
        let mut bytes = sound();
        let data = data(&bytes);
        for (index, (first, count)) in runs.into_iter().enumerate() {
            bytes[place + 16 * index..][..16].copy_from_slice(Run { first, count }.as_bytes());
        }
        sign(&mut bytes[..data]);
        assert!(matches!(verify(&bytes), Err(Refusal::Malformed(_))), "{runs:?}");
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_verified_is_an_error() {
    let mut bytes = sound();
    // More than is read at once.
    let header_of = |bytes: &[u8]| {
        let mut header = Header::new_zeroed();
        header.as_mut_bytes().copy_from_slice(&bytes[..size_of::<Header>()]);
        header
    };
    let mut header = header_of(&bytes);
    header.image_length += 4 << 20;
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    sign(&mut bytes[..header.data_offset as usize]);
    bytes.resize(bytes.len() + (4 << 20), 0);
    let file = file(&bytes);
    let cut = File::options().write(true).open(file.path()).expect("the file");
    let error = Snapshot::verify(file.path(), |_, _| cut.set_len(PAGE).expect("it is cut"));
    let refusal = error.expect_err("a file that is cut").refusal;
    assert!(matches!(refusal, Refusal::Read(_)), "{refusal}");
}
