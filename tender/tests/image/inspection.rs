//! What `coracle inspect` tells.

use crate::builder::*;
use coracle_tender::image::Kind;
use coracle_tender::image::inspect::Inspection;
use std::path::{Path, PathBuf};

fn inspect(bytes: &[u8]) -> Inspection {
    Inspection::of_file(file(bytes), PathBuf::from("guest")).unwrap()
}

#[test]
fn an_image_is_told_in_aligned_lines() {
    let elf = Elf { relr: vec![0x2110], ..Elf::good() };
    let expected = "\
guest (2.8 KiB)
  kind           x86-64 program, position-independent
  contract       1.0 (this tender speaks 1.1)
  build id       abababababababababababababababababababab
  entry          0x1000
  segments       address          rights   in memory     in file
                 0x0              r--        2.0 KiB     2.0 KiB
                 0x1000           r-x          256 B       256 B
                 0x2000           rw-       12.0 KiB       512 B
  relro          0x2000, 4.0 KiB, read-only once relocated
  thread-local   48 B of which 16 B from 0x2180, aligned to 16
  memory         20.0 KiB in pages, before stack and heap
  relocations    2 relative (1 packed), 1 with symbols
  notes          Coracle 1 (4 B), GNU 3 (20 B)
  verdict        `coracle run` takes it
";
    assert_eq!(inspect(&elf.bytes()).to_string(), expected);
}

#[test]
fn json_has_the_same_facts() {
    let json = serde_json::to_value(inspect(&Elf::good().bytes())).unwrap();
    assert_eq!(json["kind"], "position-independent");
    assert_eq!(json["entry"], 0x1000);
    assert_eq!(json["segments"][1]["rights"], "r-x");
    assert_eq!(json["relocations"]["symbolic"], 1);
    assert_eq!(json["notes"][0]["type"], 1);
    assert!(json["refusal"].is_null());
}

#[test]
fn a_refused_file_is_told_as_far_as_it_can_be_read_with_the_refusal() {
    let mut elf = Elf::good();
    elf.set_notes([abi_note(3, 1), permissions_note(5)].concat());
    elf.header(PT_GNU_STACK).flags = RWX;
    elf.dynamic = vec![(1, 13)];
    let inspection = inspect(&elf.bytes());
    assert_eq!(inspection.contract.as_deref(), Some("3.1"));
    assert_eq!(inspection.permissions, ["code at run time", "unknown (0x4)"]);
    assert_eq!(inspection.libraries, ["libone.so.1"]);
    assert!(inspection.executable_stack);
    assert_eq!(inspection.segments.len(), 3);
    let refusal = inspection.refusal.as_deref().unwrap();
    assert!(refusal.starts_with("`guest` is built for version 3.1"), "{refusal}");
    assert!(inspection.to_string().contains("refused        `guest` is built for"));
}

#[test]
fn a_file_that_is_not_elf_has_a_size_and_a_refusal() {
    let inspection = inspect(b"#!/bin/sh\n");
    assert_eq!((inspection.kind, inspection.file_size), (None, 10));
    assert!(inspection.refusal.is_some_and(|refusal| refusal.contains("a script")));
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    assert!(Inspection::of(Path::new("/nowhere/hello")).is_err());
}

#[test]
fn a_real_program_shows_what_crash_reports_can_draw_on() {
    // This test itself: a Linux program that everybody who runs the test has.
    let path = std::env::current_exe().unwrap();
    let inspection = Inspection::of(&path).unwrap();
    assert_eq!(inspection.kind, Some(Kind::PositionIndependent));
    assert!(inspection.sections.is_some_and(|sections| sections.unwind_tables));
    // Tests that are carried to another machine are linked statically.
    let names_libc = inspection.libraries.iter().any(|library| library.starts_with("libc.so"));
    assert_eq!(names_libc, !cfg!(target_feature = "crt-static"));
    assert!(inspection.refusal.is_some_and(|refusal| refusal.contains("an ordinary Linux program")));
}
