//! What is refused. Every test makes one file for one reason.

use crate::builder::*;
use coracle_tender::image::{Image, Looks, Refusal};
use std::path::Path;

/// Checks the reason and what the sentence about it must name.
macro_rules! assert_refused {
    ($elf:expr, $pattern:pat, $($words:literal),+) => {
        let (refusal, sentence) = $elf.refusal();
        assert!(matches!(refusal, $pattern), "{refusal:?}");
        $(assert!(sentence.contains($words), "{sentence}");)+
    };
}

/// A good image with one change.
fn changed(change: impl FnOnce(&mut Elf)) -> Elf {
    let mut elf = Elf::good();
    change(&mut elf);
    elf
}

/// A good image with other notes.
fn with_notes(notes: &[Vec<u8>]) -> Elf {
    changed(|elf| elf.set_notes(notes.concat()))
}

#[test]
fn a_missing_file_is_named_with_what_the_system_says() {
    let error = Image::open(Path::new("/nowhere/hello")).unwrap_err();
    assert!(matches!(error.refusal, Refusal::Open { .. }));
    assert!(error.to_string().starts_with("`/nowhere/hello` cannot be opened (No such file"), "{error}");
}

#[test]
fn directories_and_devices_are_refused_as_what_they_are() {
    for (path, words) in [("/", "is a directory"), ("/dev/zero", "is a device")] {
        let error = Image::open(Path::new(path)).unwrap_err();
        assert!(matches!(error.refusal, Refusal::NotAFile { .. }));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_file_that_is_not_elf_is_refused_as_what_it_looks_like() {
    let files: [(&[u8], Looks, &str); 10] = [
        (b"", Looks::Empty, "an empty file"),
        (b"#!/bin/sh\n", Looks::Script, "a script"),
        (b"MZ\x90\0", Looks::Windows, "a Windows program"),
        (b"\xcf\xfa\xed\xfe", Looks::Mac, "a macOS program"),
        (b"\0asm\x01", Looks::WebAssembly, "a WebAssembly module"),
        (b"!<arch>\nx", Looks::Archive, "a static library"),
        (b"\x1f\x8b\x08", Looks::Compressed, "a compressed file"),
        ("fn main() { \u{e4} }\n".as_bytes(), Looks::Text, "a text file"),
        (b"\x01\x02\x03", Looks::Unknown, "of an unknown kind"),
        (b"\x7fELG", Looks::Unknown, "of an unknown kind"),
    ];
    for (bytes, expected, words) in files {
        let (reason, sentence) = refusal(bytes);
        assert!(matches!(reason, Refusal::NotElf { looks } if looks == expected), "{reason:?}");
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[test]
fn a_file_that_ends_within_its_header_is_cut_short() {
    let bytes = Elf::good().bytes();
    for length in [4, 19, 63] {
        let (reason, sentence) = refusal(&bytes[..length]);
        assert!(matches!(reason, Refusal::CutShort { part: "ELF header", .. }), "{reason:?}");
        assert!(sentence.contains("cut short"), "{sentence}");
    }
}

#[test]
fn a_32_bit_program_is_refused_as_such() {
    assert_refused!(changed(|elf| elf.class = 1), Refusal::ThirtyTwoBit, "32-bit");
    assert_refused!(changed(|elf| (elf.class, elf.machine) = (1, 3)), Refusal::ThirtyTwoBit, "32-bit");
}

#[test]
fn a_foreign_machine_is_named() {
    let names = [(183, "aarch64"), (243, "riscv"), (40, "arm"), (21, "powerpc64"), (60_000, "60000")];
    for (machine, name) in names {
        let (reason, sentence) = changed(|elf| elf.machine = machine).refusal();
        assert!(matches!(reason, Refusal::ForeignMachine { .. }), "{reason:?}");
        assert!(sentence.contains(name) && sentence.contains("--target"), "{sentence}");
    }
    // s390x is big-endian, and its number lies accordingly.
    let big = changed(|elf| (elf.data, elf.machine) = (2, 22u16.swap_bytes()));
    assert_refused!(big, Refusal::ForeignMachine { .. }, "s390x");
}

#[test]
fn a_big_endian_x86_is_refused() {
    let elf = changed(|elf| (elf.data, elf.machine) = (2, 62u16.swap_bytes()));
    assert_refused!(elf, Refusal::BigEndian, "big-endian");
}

#[test]
fn files_that_are_no_programs_are_refused_as_what_they_are() {
    for (e_type, words) in [(1, "relocatable object"), (4, "core dump"), (0, "unknown type")] {
        let (reason, sentence) = changed(|elf| elf.e_type = e_type).refusal();
        assert!(matches!(reason, Refusal::NotAProgram { .. }), "{reason:?}");
        assert!(sentence.contains(words), "{sentence}");
    }
}

#[test]
fn a_plain_linux_program_is_told_how_to_become_an_image() {
    let elf = with_notes(&[note(b"GNU\0", 3, &[1; 20])]);
    assert_refused!(
        elf,
        Refusal::OrdinaryProgram,
        "is an ordinary Linux program and not a Coracle image",
        "`#![no_std]`, `#![no_main]`, `#[coracle::main]`",
        "`panic = \"abort\"`",
        "\"A program of your own\" in https://github.com/coracle-vm/coracle/blob/main/README.md"
    );
}

#[test]
fn a_plain_linux_program_is_told_so_whatever_else_is_wrong_with_it() {
    let mut elf = Elf::good().without(PT_NOTE);
    elf.dynamic = vec![(1, 13)];
    elf.header(PT_GNU_STACK).flags = RWX;
    elf.load(1).flags = RWX;
    elf.rela = vec![(0, 37, 0, 0)];
    assert_refused!(elf, Refusal::OrdinaryProgram, "ordinary Linux program");
}

#[test]
fn a_shared_library_is_refused_as_such() {
    let elf = Elf { entry: 0, ..Elf::good().without(PT_NOTE) };
    assert_refused!(elf, Refusal::SharedLibrary, "shared library");
}

#[test]
fn the_first_shared_library_that_is_needed_is_named() {
    let elf = changed(|elf| elf.dynamic = vec![(1, 13), (1, 1)]);
    assert_refused!(elf, Refusal::NeedsLibraries { .. }, "libone.so.1");
    let unreadable = changed(|elf| elf.dynamic = vec![(1, u64::MAX)]);
    assert_refused!(unreadable, Refusal::NeedsLibraries { .. }, "cannot be read");
}

#[test]
fn names_out_of_the_file_cannot_write_to_the_terminal() {
    let elf = changed(|elf| (elf.dynamic, elf.strings) = (vec![(1, 1)], b"\0lib\x1b[2J\n\0"));
    assert_refused!(elf, Refusal::NeedsLibraries { .. }, "lib\\u{1b}[2J\\n");
}

#[test]
fn a_newer_contract_is_refused_with_both_versions() {
    for version in [abi_note(1, 2), abi_note(2, 0)] {
        assert_refused!(with_notes(&[version]), Refusal::NewerContract { .. }, "speaks 1.1", "update");
    }
}

#[test]
fn an_older_major_contract_is_refused_with_both_versions() {
    assert_refused!(with_notes(&[abi_note(0, 9)]), Refusal::OtherContract { .. }, "0.9", "1.1", "again");
}

#[test]
fn one_note_of_a_newer_contract_among_others_is_enough() {
    let elf = with_notes(&[abi_note(1, 0), abi_note(1, 7)]);
    assert_refused!(elf, Refusal::NewerContract { .. }, "1.7");
}

#[test]
fn unknown_permissions_are_refused_with_their_bits() {
    let elf = with_notes(&[abi_note(1, 0), permissions_note(0x8001)]);
    assert_refused!(elf, Refusal::UnknownPermissions { bits: 0x8000 }, "0x8000");
}

#[test]
fn malformed_notes_are_refused() {
    let mut longer = abi_note(1, 0);
    longer[4] = 200;
    let mut endless = abi_note(1, 0);
    endless[..8].fill(0xff);
    let short = note(b"Coracle\0", 1, &[1, 0]);
    let permissions = note(b"Coracle\0", 2, &[0; 5]);
    let lone = vec![1, 2, 3];
    for notes in [longer, endless, short, permissions, lone] {
        let elf = with_notes(&[abi_note(1, 0), notes]);
        assert_refused!(elf, Refusal::MalformedNote { .. }, "malformed note");
    }
    let huge = changed(|elf| elf.header(PT_NOTE).file_size = 1 << 17);
    assert_refused!(huge, Refusal::MalformedNote { .. }, "larger than 64 KiB");
}

#[test]
fn notes_beyond_the_end_of_the_file_are_cut_short() {
    let elf = changed(|elf| elf.header(PT_NOTE).offset = END - 8);
    assert_refused!(elf, Refusal::CutShort { part: "notes", .. }, "notes");
}

#[test]
fn a_program_with_nothing_to_load_is_refused() {
    assert_refused!(Elf::good().without(PT_LOAD), Refusal::NoSegments, "nothing to load");
    assert_refused!(changed(|elf| elf.header_count = Some(0)), Refusal::NoSegments, "nothing to load");
    let empty = changed(|elf| {
        for index in 0..3 {
            let segment = elf.load(index);
            (segment.file_size, segment.size) = (0, 0);
        }
    });
    assert_refused!(empty, Refusal::NoSegments, "nothing to load");
}

#[test]
fn too_many_program_headers_are_refused() {
    let elf = changed(|elf| elf.header_count = Some(129));
    assert_refused!(elf, Refusal::TooManyProgramHeaders { count: 129, most: 128 }, "129", "128");
}

#[test]
fn program_headers_of_another_size_are_refused() {
    assert_refused!(changed(|elf| elf.header_size = 32), Refusal::ProgramHeaderSize { size: 32 }, "32");
}

#[test]
fn program_headers_beyond_the_end_of_the_file_are_cut_short() {
    let elf = changed(|elf| elf.header_count = Some(128));
    assert_refused!(elf, Refusal::CutShort { part: "table of program headers", .. }, "program headers");
}

#[test]
fn a_segment_with_more_in_the_file_than_in_memory_is_refused() {
    let elf = changed(|elf| elf.load(2).size = 0x100);
    assert_refused!(elf, Refusal::FileLargerThanMemory { address: 0x2000 }, "0x2000");
}

#[test]
fn a_segment_beyond_the_end_of_the_address_space_is_refused() {
    let elf = changed(|elf| elf.add_segment(RW, u64::MAX - 0xfff, 0x1001));
    assert_refused!(elf, Refusal::SegmentOverflow { .. }, "0xfffffffffffff000");
    let relro = changed(|elf| elf.header(PT_GNU_RELRO).size = u64::MAX);
    assert_refused!(relro, Refusal::SegmentOverflow { .. }, "0x2000");
}

#[test]
fn a_segment_that_reaches_beyond_the_end_of_the_file_is_cut_short() {
    let elf = changed(|elf| elf.load(2).file_size += 1);
    assert_refused!(elf, Refusal::CutShort { end: 0xb01, .. }, "2817", "2816");
    let wrapping = changed(|elf| elf.load(2).offset = u64::MAX - 0x10);
    assert_refused!(wrapping, Refusal::CutShort { part: "loaded part", .. }, "loaded part");
}

#[test]
fn an_alignment_that_is_no_power_of_two_or_too_great_is_refused() {
    for align in [3, 0x1800, 2 << 30, 1 << 63] {
        let (reason, sentence) = changed(|elf| elf.load(1).align = align).refusal();
        assert!(matches!(reason, Refusal::Alignment { address: 0x1000, .. }), "{reason:?}");
        assert!(sentence.contains("0x1000 aligned to"), "{sentence}");
    }
}

#[test]
fn fixed_addresses_within_the_first_64_kib_are_refused() {
    let at = |base| Elf { base, ..Elf::fixed() };
    assert_refused!(at(0xf000), Refusal::TooLow { address: 0xf000 }, "0xf000", "64 KiB");
    assert_refused!(at(0), Refusal::TooLow { address: 0 }, "0x0");
    assert!(at(0x1_0000).open().is_ok());
}

#[test]
fn addresses_from_2_to_the_46_on_are_refused() {
    let last = |address| changed(|elf| elf.add_segment(RW, address, 0x1000));
    assert_refused!(last((1 << 46) - 0xfff), Refusal::TooHigh { .. }, "0x400000000001");
    let high = Elf { base: (1 << 46) - 0x5000, ..Elf::good() };
    assert!(high.open().is_ok());
}

#[test]
fn an_image_that_spreads_too_far_is_refused() {
    let elf = changed(|elf| elf.add_segment(RW, 1 << 40, 1));
    assert_refused!(elf, Refusal::SpanTooLarge { .. }, "1 TiB");
    let vast = changed(|elf| elf.add_segment(RW, 0x5000, 1 << 41));
    assert_refused!(vast, Refusal::SpanTooLarge { .. }, "1 TiB");
}

#[test]
fn a_writable_and_executable_segment_is_refused() {
    for flags in [RWX, 3] {
        let (reason, sentence) = changed(|elf| elf.load(1).flags = flags).refusal();
        assert!(matches!(reason, Refusal::WritableAndExecutable { address: 0x1000 }), "{reason:?}");
        assert!(sentence.contains("0x1000"), "{sentence}");
    }
}

#[test]
fn overlapping_segments_are_refused_with_both_addresses() {
    let elf = changed(|elf| elf.load(1).address = 0x7ff);
    assert_refused!(elf, Refusal::Overlap { first: 0, second: 0x7ff }, "0x0", "0x7ff");
    let same = changed(|elf| elf.load(1).address = 0x2000);
    assert_refused!(same, Refusal::Overlap { .. }, "overlap");
}

#[test]
fn code_and_writable_data_on_one_page_are_refused() {
    let elf = changed(|elf| elf.load(2).address = 0x1100);
    assert_refused!(elf, Refusal::SharedPage { page: 0x1000 }, "0x1000", "separate-code");
    // Also when they meet through a third that is neither.
    let through = changed(|elf| {
        elf.add_segment(R, 0x1100, 0x100);
        elf.add_segment(RW, 0x1200, 0x100);
    });
    assert_refused!(through, Refusal::SharedPage { page: 0x1000 }, "0x1000");
}

#[test]
fn an_executable_stack_is_refused() {
    let elf = changed(|elf| elf.header(PT_GNU_STACK).flags = RWX);
    assert_refused!(elf, Refusal::ExecutableStack, "executable stack", "noexecstack");
}

#[test]
fn an_entry_outside_of_executable_memory_is_refused() {
    for entry in [0xfff, 0x1100, 0x2000, 0, u64::MAX] {
        let (reason, sentence) = changed(|elf| elf.entry = entry).refusal();
        assert!(matches!(reason, Refusal::EntryNotExecutable { .. }), "{reason:?}");
        assert!(sentence.contains("starts at"), "{sentence}");
    }
}

#[test]
fn an_unknown_relocation_is_refused_with_number_and_name() {
    for (number, name) in
        [(5, "R_X86_64_COPY"), (37, "R_X86_64_IRELATIVE"), (18, "R_X86_64_TPOFF64"), (999, "999")]
    {
        let (reason, sentence) = changed(|elf| elf.rela = vec![(0x2100, number, 0, 0)]).refusal();
        assert!(matches!(reason, Refusal::UnknownRelocation { .. }), "{reason:?}");
        assert!(sentence.contains(name) && sentence.contains("0x2100"), "{sentence}");
    }
}

#[test]
fn a_relocation_outside_of_writable_memory_is_refused() {
    // Text, constants, across the end of the data, nowhere, across the end of the address space.
    for target in [0x1000, 0x0, 0x4ff9, 0x9000, u64::MAX - 3] {
        let (reason, sentence) = changed(|elf| elf.rela = vec![(target, 8, 0, 0)]).refusal();
        assert!(matches!(reason, Refusal::RelocationTarget { address } if address == target), "{reason:?}");
        assert!(sentence.contains("writable segment"), "{sentence}");
    }
}

#[test]
fn a_packed_relocation_outside_of_writable_memory_is_refused() {
    for target in [0x1000, 0x2200, 0x9000] {
        let elf = changed(|elf| elf.relr = vec![target]);
        assert_refused!(elf, Refusal::RelocationTarget { .. }, "writable segment");
    }
}

#[test]
fn packed_relocations_that_do_not_ascend_or_overlap_are_refused() {
    for relr in [vec![0x2108, 0x2100], vec![0x2100, 0x2104]] {
        let elf = changed(|elf| elf.relr = relr);
        assert_refused!(elf, Refusal::MalformedDynamic { .. }, "do not ascend");
    }
}

#[test]
fn an_undefined_symbol_is_named() {
    for info in [0x10, 0x00] {
        let elf = changed(|elf| elf.symbols[1] = (6, info, 0, 0));
        assert_refused!(elf, Refusal::UndefinedSymbol { .. }, "the symbol strong");
    }
}

#[test]
fn symbols_that_need_a_dynamic_linker_are_refused_with_kind_and_name() {
    for (info, kind) in [(0x16, "thread-local symbol strong"), (0x1a, "indirect function strong")] {
        let (reason, sentence) = changed(|elf| elf.symbols[1] = (6, info, 5, 0x1000)).refusal();
        assert!(matches!(reason, Refusal::DynamicSymbol { .. }), "{reason:?}");
        assert!(sentence.contains(kind), "{sentence}");
    }
}

#[test]
fn tables_that_are_not_loaded_are_refused() {
    let rela = changed(|elf| elf.dynamic = vec![(7, 0x2200)]);
    assert_refused!(rela, Refusal::TableNotLoaded { table: "table of relocations", .. }, "0x2200");
    let packed = changed(|elf| elf.dynamic = vec![(36, 0x9000), (35, 8)]);
    assert_refused!(packed, Refusal::TableNotLoaded { .. }, "packed relocations");
    let symbols = changed(|elf| elf.dynamic = vec![(6, 0x9000)]);
    assert_refused!(symbols, Refusal::TableNotLoaded { .. }, "table of symbols");
}

#[test]
fn a_malformed_dynamic_section_is_refused() {
    let entries: [(u64, u64); 7] = [(8, 25), (9, 23), (37, 4), (11, 16), (20, 17), (17, 0x600), (35, 7)];
    for entry in entries {
        let elf = changed(|elf| {
            elf.relr = vec![0x2100];
            elf.dynamic = vec![entry];
        });
        assert_refused!(elf, Refusal::MalformedDynamic { .. }, "malformed dynamic section");
    }
    let large = changed(|elf| elf.header(PT_DYNAMIC).file_size = 1 << 17);
    assert_refused!(large, Refusal::MalformedDynamic { .. }, "larger than 64 KiB");
    let beyond = changed(|elf| elf.header(PT_DYNAMIC).offset = END);
    assert_refused!(beyond, Refusal::CutShort { part: "dynamic section", .. }, "dynamic section");
}

#[test]
fn too_many_relocations_are_refused() {
    let elf = changed(|elf| elf.dynamic = vec![(8, 24 * ((4 << 20) + 1))]);
    assert_refused!(elf, Refusal::TooManyRelocations { .. }, "4194304");
}

#[test]
fn too_many_relocations_with_symbols_are_refused() {
    let mut elf = Elf::good();
    let count = (1 << 18) + 1;
    elf.add_segment(R, 0x10_0000, 24 * count);
    (elf.load(3).offset, elf.load(3).file_size) = (END, 24 * count);
    elf.dynamic = vec![(7, 0x10_0000), (8, 24 * count)];
    let mut entry = [0u8; 24];
    entry[..8].copy_from_slice(&0x2108u64.to_le_bytes());
    entry[8..16].copy_from_slice(&(6u64 | 1 << 32).to_le_bytes());
    let bytes = [elf.bytes(), entry.repeat(count as usize)].concat();
    let (reason, sentence) = refusal(&bytes);
    assert!(matches!(reason, Refusal::TooManyRelocations { .. }), "{reason:?}");
    assert!(sentence.contains("262144 relocations with symbols"), "{sentence}");
}

#[test]
fn a_template_of_thread_local_storage_that_is_not_loaded_is_refused() {
    for address in [0x9000, 0x4ff8, u64::MAX] {
        let elf = changed(|elf| elf.header(PT_TLS).address = address);
        assert_refused!(elf, Refusal::TlsNotLoaded { .. }, "thread-local");
    }
}

#[test]
fn thread_local_storage_of_a_wrong_alignment_is_refused() {
    for align in [3, 8192, u64::MAX] {
        let elf = changed(|elf| elf.header(PT_TLS).align = align);
        assert_refused!(elf, Refusal::TlsAlignment { .. }, "4096");
    }
}

#[test]
fn thread_local_storage_of_a_wrong_size_is_refused() {
    for size in [15, (1 << 30) + 1, u64::MAX] {
        let elf = changed(|elf| elf.header(PT_TLS).size = size);
        assert_refused!(elf, Refusal::TlsSize { .. }, "1 GiB");
    }
}
