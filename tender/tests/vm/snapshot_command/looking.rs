//! `coracle snapshot verify` and `coracle inspect`, and files that are refused.

use super::{assert_refused, resume, snapshot, take, text};
use crate::scratch::Scratch;
use crate::support::{coracle, example, guest, no_kvm, output, stderr, stdout};
use coracle_hypercall::exit;
use coracle_tender::snapshot::format::{Cpuid, Header, Run};
use sha2::{Digest, Sha256};
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;
use zerocopy::{FromBytes, IntoBytes};

#[test]
fn verify_tells_a_whole_file_from_one_with_a_changed_byte_anywhere() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let ended = output(snapshot(&["verify", text(&file)]));
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    assert!(stdout(&ended).contains("is as it was written") && stderr(&ended).is_empty());
    let whole = fs::read(&file).expect("a snapshot");
    // In the head, among the pages, in the image.
    for at in [100, whole.len() / 8, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, &bytes).expect("a file");
        assert_refused(&output(snapshot(&["verify", text(&file)])), &[text(&file), "is damaged"]);
    }
    fs::write(&file, &whole[..whole.len() - 1]).expect("a file");
    assert_refused(&output(snapshot(&["verify", text(&file)])), &["it was cut or changed"]);
}

#[test]
fn what_is_no_snapshot_is_refused_by_verify_with_how_to_make_one() {
    let image = example("stripped", "hello");
    assert_refused(&output(snapshot(&["verify", text(&image)])), &["is not a snapshot", "coracle snapshot"]);
    assert_refused(&output(snapshot(&["verify", "/nowhere/it"])), &["`/nowhere/it` cannot be read"]);
    assert_refused(&output(snapshot(&["verify", "/tmp"])), &["is not a snapshot"]);
}

#[test]
fn a_cut_or_damaged_snapshot_is_refused_by_run_in_words() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let whole = fs::read(&file).expect("a snapshot");
    for length in [8, 100, 5000, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        assert_refused(&output(resume(&[], &file)), &[text(&file), "it was cut or changed"]);
    }
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    fs::write(&file, &bytes).expect("a file");
    assert_refused(&output(resume(&[], &file)), &[text(&file), "copy it again"]);
}

#[test]
fn inspect_shows_what_a_snapshot_is_of_and_that_it_runs_here() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let image = example("release", "handler-echo");
    let file = take(&scratch, &image, &[]);
    let inspect = |options: &[&str]| {
        let mut command = Command::new(coracle());
        command.arg("inspect").args(options).arg(&file);
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        stdout(&ended)
    };
    let shown = inspect(&[]);
    for words in
        ["snapshot, format 1", "handler", "ready for its input", "64.0 MiB", text(&image), "fsgsbase"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.ends_with('\n') && !shown.ends_with("\n\n"), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).expect("JSON");
    assert_eq!((&shown["program"], &shown["ready"]), (&"handler".into(), &true.into()));
    assert_eq!(shown["image"]["size"], fs::metadata(&image).expect("an image").len());
    assert!(shown["image"]["build_id"].is_string() && shown["refusal"].is_null(), "{shown}");
}

#[test]
fn inspect_ends_with_1_for_a_snapshot_that_run_would_refuse() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    let whole = fs::read(&file).expect("a snapshot");
    for length in [8, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        let mut command = Command::new(coracle());
        command.arg("inspect").arg(&file);
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(stdout(&ended).contains("it was cut or changed"), "{}", stdout(&ended));
    }
}

/// Changes what is before the pages of a snapshot, and gives it the digest for that.
fn forge(file: &Path, change: impl FnOnce(&Header, &mut [u8])) {
    let mut bytes = fs::read(file).expect("a snapshot");
    let (header, _) = Header::read_from_prefix(&bytes).expect("a header");
    let head = &mut bytes[..usize::try_from(header.data_offset).expect("a length")];
    change(&header, head);
    let at = offset_of!(Header, head_digest)..offset_of!(Header, body_digest);
    head[at.clone()].fill(0);
    let digest = Sha256::digest(&*head);
    head[at].copy_from_slice(&digest);
    fs::write(file, bytes).expect("a file");
}

#[test]
fn a_snapshot_of_another_cpu_is_refused_with_the_features_that_are_missing() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &example("release", "handler-echo"), &[]);
    forge(&file, |header, head| {
        let entries = &mut head[size_of::<Header>()..];
        let entries = entries.chunks_mut(size_of::<Cpuid>()).take(header.cpuid_count as usize);
        for bytes in entries {
            let mut entry = Cpuid::read_from_bytes(bytes).expect("an entry");
            if entry.leaf == 7 {
                // No CPU has this bit in what guests see.
                entry.values[3] |= 1 << 31;
                bytes.copy_from_slice(entry.as_bytes());
            }
        }
    });
    let words = "was taken on a CPU with features that this one lacks (CPUID 0x7 edx bit 31)";
    assert_refused(&output(resume(&[], &file)), &[words]);
    let mut command = Command::new(coracle());
    command.arg("inspect").arg(&file);
    let ended = output(command);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stdout(&ended).contains(words), "{}", stdout(&ended));
}

#[test]
fn the_name_of_a_forged_snapshot_cannot_steer_the_terminal() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = take(&scratch, &guest("prepared"), &["", "crash"]);
    forge(&file, |header, head| {
        let tables =
            header.cpuid_count as usize * size_of::<Cpuid>() + header.run_count as usize * size_of::<Run>();
        head[size_of::<Header>() + tables..][..4].copy_from_slice(b"\x1b[2J");
    });
    let mut inspect = Command::new(coracle());
    inspect.arg("inspect").arg(&file);
    let shown = stdout(&output(inspect));
    assert!(shown.contains("\\u{1b}[2J") && !shown.contains('\x1b'), "{shown}");
    let ended = output(resume(&[], &file));
    assert_eq!(ended.status.code(), Some(exit::BAD_ACCESS.into()));
    assert!(!stderr(&ended).contains('\x1b'), "{}", stderr(&ended));
}
