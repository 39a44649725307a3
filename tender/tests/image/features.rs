//! What is taken, and what becomes of it.

use crate::builder::*;
use coracle_hypercall::memory::Rights;
use coracle_hypercall::note::Permissions;
use coracle_tender::image::{Image, Kind, PageRun, Refusal, Tls};
use coracle_tender::layout::Extent;

const READ: Rights = Rights::READ;
const WRITE: Rights = Rights::READ.union(Rights::WRITE);
const EXECUTE: Rights = Rights::READ.union(Rights::EXECUTE);

fn run(start: u64, length: u64, rights: Rights) -> PageRun {
    PageRun { start, length, rights }
}

fn taken(elf: &Elf) -> Image {
    elf.open().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_position_independent_image_is_described_as_linked() {
    let image = taken(&Elf::good());
    assert_eq!(image.kind(), Kind::PositionIndependent);
    assert_eq!(image.span(), Extent { start: 0, length: 0x5000 });
    assert_eq!((image.entry(), image.align(), image.memory_needed()), (0x1000, 0x1000, 0x5000));
    assert_eq!(image.abi().to_string(), "1.0");
    assert_eq!(image.path().to_str(), Some("guest"));
}

#[test]
fn a_fixed_image_keeps_its_addresses_and_cannot_be_moved() {
    let image = taken(&Elf::fixed());
    assert_eq!(image.kind(), Kind::Fixed);
    assert_eq!(image.span(), Extent { start: 0x40_0000, length: 0x5000 });
    assert_eq!(image.entry(), 0x40_1000);
    let error = image.load(&mut Memory(Vec::new()), 0x1000).unwrap_err();
    assert!(matches!(error.refusal, Refusal::Fixed { bias: 0x1000 }), "{error}");
    Memory::load(&image, 0);
}

#[test]
fn pages_have_the_rights_of_their_segment_and_relro_is_read_only() {
    let expected = [
        run(0, 0x1000, READ),
        run(0x1000, 0x1000, EXECUTE),
        run(0x2000, 0x1000, READ),
        run(0x3000, 0x2000, WRITE),
    ];
    assert_eq!(taken(&Elf::good()).pages(), expected);
}

#[test]
fn relro_is_rounded_down_at_both_ends() {
    let mut elf = Elf::good();
    let relro = elf.header(PT_GNU_RELRO);
    (relro.address, relro.size) = (0x2080, 0x1f00);
    assert_eq!(taken(&elf).pages()[2..], [run(0x2000, 0x1000, READ), run(0x3000, 0x2000, WRITE)]);
    elf.header(PT_GNU_RELRO).size = 0x0f00;
    assert_eq!(taken(&elf).pages()[2..], [run(0x2000, 0x3000, WRITE)]);
}

#[test]
fn relro_at_the_end_of_a_segment_leaves_nothing_writable() {
    let mut elf = Elf::good();
    elf.header(PT_GNU_RELRO).size = 0x3000;
    assert_eq!(taken(&elf).pages()[2..], [run(0x2000, 0x3000, READ)]);
}

#[test]
fn segments_of_like_rights_next_to_each_other_are_one_run() {
    let mut elf = Elf::good();
    elf.add_segment(RW, 0x5000, 0x1000);
    assert_eq!(taken(&elf).pages()[3..], [run(0x3000, 0x3000, WRITE)]);
}

#[test]
fn a_shared_page_has_the_rights_of_all_its_segments() {
    let mut elf = Elf::good().without(PT_GNU_RELRO);
    elf.load(1).address = 0x0f80;
    elf.entry = 0x0f80;
    let expected = [run(0, 0x2000, EXECUTE), run(0x2000, 0x3000, WRITE)];
    assert_eq!(taken(&elf).pages(), expected);

    let mut elf = Elf::good().without(PT_GNU_RELRO);
    elf.add_segment(R, 0x5000, 0x100);
    elf.add_segment(RW, 0x5100, 0x100);
    elf.add_segment(R, 0x5200, 0x1000);
    let expected = [run(0x2000, 0x4000, WRITE), run(0x6000, 0x1000, READ)];
    assert_eq!(taken(&elf).pages()[2..], expected);
}

#[test]
fn segments_may_come_in_any_order() {
    let mut elf = Elf::good();
    elf.headers.reverse();
    assert_eq!(taken(&elf).pages(), taken(&Elf::good()).pages());
}

#[test]
fn gaps_between_segments_are_not_mapped() {
    let mut elf = Elf::good();
    elf.add_segment(RW, 0x10_0000, 0x1000);
    let image = taken(&elf);
    assert_eq!(image.span().length, 0x10_1000);
    assert_eq!(image.memory_needed(), 0x6000);
}

#[test]
fn a_segment_without_rights_is_a_gap() {
    let mut elf = Elf::good();
    elf.add_segment(0, 0x6000, 0x1000);
    elf.load(3).file_size = 0x800;
    let image = taken(&elf);
    assert_eq!(image.memory_needed(), 0x5000);
    assert!(Memory::load(&image, 0).0[0x6000..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_segment_of_bss_only_is_zero() {
    let mut elf = Elf::good();
    elf.add_segment(RW, 0x6000, 0x2000);
    let image = taken(&elf);
    assert_eq!(image.pages().last(), Some(&run(0x6000, 0x2000, WRITE)));
    assert!(Memory::load(&image, 0).0[0x6000..].iter().all(|&byte| byte == 0));
}

#[test]
fn an_empty_segment_is_passed_over() {
    let mut elf = Elf::good();
    elf.add_segment(RW, 0x2_0000_0000, 0);
    assert_eq!(taken(&elf).span().length, 0x5000);
}

#[test]
fn any_alignment_up_to_1_gib_is_taken_and_told() {
    for align in [0, 1, 8, 0x1000, 0x1_0000, 2 << 20, 1 << 30] {
        let mut elf = Elf::good();
        elf.load(2).align = align;
        assert_eq!(taken(&elf).align(), align.max(0x1000));
    }
}

#[test]
fn write_or_execute_alone_imply_read() {
    let mut elf = Elf::good();
    (elf.load(1).flags, elf.load(2).flags) = (1, 2);
    assert_eq!(taken(&elf).pages(), taken(&Elf::good()).pages());
}

#[test]
fn loading_copies_each_segment_and_nothing_around_it() {
    let elf = Elf { rela: Vec::new(), ..Elf::good() };
    let (bytes, memory) = (elf.bytes(), Memory::load(&taken(&elf), 0).0);
    assert_eq!(memory[..0x800], bytes[..0x800]);
    assert_eq!(memory[0x1000..0x1100], bytes[0x800..0x900]);
    assert_eq!(memory[0x2000..0x2200], bytes[0x900..]);
    for gap in [0x800..0x1000, 0x1100..0x2000, 0x2200..0x5000] {
        assert!(memory[gap].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn an_image_is_loaded_many_times_with_different_biases() {
    let image = taken(&Elf::good());
    for bias in [0, 0x1000, 0x7fff_0000_0000] {
        assert_eq!(Memory::load(&image, bias).word(0x2100), 0x1010 + bias);
    }
}

#[test]
fn offsets_in_memory_count_from_the_start_of_the_span() {
    let elf = Elf { base: 0x7000, ..Elf::good() };
    assert_eq!(Memory::load(&taken(&elf), 0).word(0x2100), 0x1010);
}

/// The word at 0x2100 after one relocation with a bias of 0x10000.
fn relocated(number: u32, symbol: u32, addend: u64) -> u64 {
    let mut elf = Elf::good();
    elf.rela = vec![(0x2100, number, symbol, addend)];
    // 1 weak and undefined, 2 in the image, 3 absolute.
    elf.symbols = vec![(0, 0, 0, 0), (1, 0x20, 0, 0), (1, 0x10, 5, 0x1040), (1, 0x10, 0xfff1, 0x77)];
    Memory::load(&taken(&elf), 0x10000).word(0x2100)
}

#[test]
fn relocations_are_looked_at_when_the_image_is_loaded_and_not_before() {
    let mut elf = Elf::good();
    elf.rela = vec![(0x9000, 8, 0, 0)];
    let image = taken(&elf);
    assert!(image.check_relocations().is_err());
    let error = image.load(&mut Memory(vec![0; 0x5000]), 0).unwrap_err();
    assert!(matches!(error.refusal, Refusal::RelocationTarget { address: 0x9000 }), "{error}");
}

#[test]
fn relative_relocations_add_the_bias() {
    assert_eq!(relocated(8, 0, 0x1234), 0x11234);
    assert_eq!(relocated(8, 0, u64::MAX), 0xffff);
}

#[test]
fn weak_undefined_symbols_resolve_to_zero() {
    assert_eq!([relocated(6, 1, 9), relocated(7, 1, 9), relocated(1, 1, 9)], [0, 0, 9]);
}

#[test]
fn symbols_of_the_image_resolve_to_their_place() {
    assert_eq!([relocated(6, 2, 0), relocated(7, 2, 0), relocated(1, 2, 8)], [0x11040, 0x11040, 0x11048]);
}

#[test]
fn absolute_symbols_and_relocations_without_symbol_do_not_move() {
    assert_eq!([relocated(6, 3, 0), relocated(1, 3, 1), relocated(1, 0, 5)], [0x77, 0x78, 5]);
}

#[test]
fn a_relocation_of_no_effect_is_passed_over_wherever_it_points() {
    let mut elf = Elf::good();
    elf.rela = vec![(u64::MAX, 0, 0, 0)];
    Memory::load(&taken(&elf), 0);
}

#[test]
fn relocations_of_functions_are_applied_too() {
    let mut elf = Elf::good();
    elf.rela = vec![(0x2100, 8, 0, 0x1010), (0x2108, 7, 1, 0)];
    // The second entry is no longer in DT_RELA but in DT_JMPREL.
    elf.dynamic = vec![(8, 24), (23, 0x618), (2, 24), (20, 7)];
    let memory = Memory::load(&taken(&elf), 0x1_0000);
    assert_eq!([memory.word(0x2100), memory.word(0x2108)], [0x11010, 0]);
}

#[test]
fn packed_relocations_add_the_bias_to_what_the_file_has_there() {
    // An address and the 2nd word after it; another that is not a whole number of words further on,
    // within the reach of that set, and the word after it.
    let relr = vec![0x2100, 1 | 1 << 2, 0x2124, 1 | 1 << 1];
    let elf = Elf { rela: Vec::new(), relr, ..Elf::good() };
    let memory = Memory::load(&taken(&elf), 0x1_0000);
    let plain = Memory::load(&taken(&Elf { relr: Vec::new(), ..elf }), 0x1_0000);
    let moved: Vec<usize> =
        (0x2100..0x2200).step_by(4).filter(|&at| memory.word(at) == plain.word(at) + 0x1_0000).collect();
    assert_eq!(moved, [0x2100, 0x2110, 0x2124, 0x212c]);
}

#[test]
fn thread_local_storage_is_told_as_linked() {
    let tls = Tls { address: 0x2180, file_size: 16, size: 48, align: 16 };
    assert_eq!(taken(&Elf::good()).tls(), Some(tls));
    assert_eq!(taken(&Elf::good().without(PT_TLS)).tls(), None);
}

#[test]
fn thread_local_storage_without_template_may_be_anywhere() {
    let mut elf = Elf::good();
    let tls = elf.header(PT_TLS);
    (tls.address, tls.file_size, tls.align) = (u64::MAX, 0, 0);
    assert_eq!(taken(&elf).tls().map(|tls| (tls.size, tls.align)), Some((48, 1)));
}

#[test]
fn program_headers_are_told_when_they_are_loaded() {
    let headers = taken(&Elf::good()).program_headers().unwrap();
    assert_eq!((headers.address, headers.count, headers.entry_size), (64, 8, 56));
    let mut elf = Elf::good();
    // Loaded from the notes on only.
    let tables = elf.load(0);
    (tables.offset, tables.address, tables.file_size, tables.size) = (0x400, 0x400, 0x400, 0x400);
    assert_eq!(taken(&elf).program_headers(), None);
}

#[test]
fn the_notes_give_build_id_and_permissions() {
    let image = taken(&Elf::good());
    assert_eq!(image.build_id(), Some(&[0xab; 20][..]));
    assert_eq!(image.permissions(), Permissions::empty());
    let mut elf = Elf::good();
    elf.set_notes([permissions_note(1), abi_note(1, 0)].concat());
    let image = taken(&elf);
    assert_eq!(image.build_id(), None);
    assert_eq!(image.permissions(), Permissions::CODE_AT_RUN_TIME);
}

#[test]
fn notes_of_others_are_passed_over() {
    let mut elf = Elf::good();
    let foreign =
        [note(b"\xff\xfe", 1, &[0; 5]), note(b"", 7, &[]), note(b"Coracle\0", 99, &[1; 9])].concat();
    elf.set_notes([foreign, abi_note(1, 0)].concat());
    taken(&elf);
}

#[test]
fn the_last_note_may_lack_its_padding() {
    let mut elf = Elf::good();
    let mut notes = [abi_note(1, 0), note(b"GNU\0", 3, &[7; 5])].concat();
    notes.truncate(notes.len() - 3);
    elf.set_notes(notes);
    assert_eq!(taken(&elf).build_id(), Some(&[7; 5][..]));
}

#[test]
fn an_interpreter_is_ignored_when_no_library_is_needed() {
    let mut elf = Elf::good();
    let note = *elf.header(PT_NOTE);
    elf.headers.push(Header { p_type: PT_INTERP, ..note });
    taken(&elf);
}

#[test]
fn an_image_without_dynamic_section_is_taken() {
    let image = taken(&Elf::fixed().without(PT_DYNAMIC));
    let memory = Memory::load(&image, 0);
    assert_eq!(memory.word(0x2100), 0x0706_0504_0302_0100);
}
