//! The test's own process as the guest: real frames, real tables, real debug information.

use crate::layout::{Extent, Places};
use crate::registers::Registers;
use crate::report::elf::ElfFile;
use crate::report::{Cause, Fault, GuestMemory, Report, Scene, describe};
use coracle_hypercall::memory::Rights;
use std::arch::asm;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// This process.
struct Own {
    memory: File,
    maps: Vec<(Extent, Rights)>,
    places: Places,
    image: File,
    path: PathBuf,
    build_id: Option<Vec<u8>>,
}

impl Own {
    fn new() -> Own {
        let path = std::env::current_exe().expect("a path");
        let text = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let (mut maps, mut image) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let range = words.next().and_then(|range| range.split_once('-')).expect("a range");
            let number = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
            let extent = Extent { start: number(range.0), length: number(range.1) - number(range.0) };
            let flags = words.next().expect("rights");
            let mut rights = Rights::empty();
            for (flag, right) in [('r', Rights::READ), ('w', Rights::WRITE), ('x', Rights::EXECUTE)] {
                rights.set(right, flags.contains(flag));
            }
            maps.push((extent, rights));
            if line.ends_with(path.to_str().expect("a path of plain characters")) {
                image.push(extent);
            }
        }
        // Tests beside this one have the file mapped elsewhere too: the image is what lies around this code.
        let code = Own::new as *const () as u64;
        let own = image.iter().find(|extent| extent.contains(code)).expect("the image is mapped");
        let before = image.iter().rev().skip_while(|extent| extent.start >= own.start);
        let start =
            before.fold(own.start, |start, extent| if extent.end() == start { extent.start } else { start });
        let after = image.iter().skip_while(|extent| extent.start <= own.start);
        let end = after.fold(own.end(), |end, extent| if extent.start == end { extent.end() } else { end });
        let local = 0;
        let stack =
            maps.iter().map(|(extent, _)| *extent).find(|extent| extent.contains(&raw const local as u64));
        let nowhere = Extent { start: 8 << 20, length: 0 };
        let places = Places {
            boot: nowhere.start,
            bias: start,
            image: Extent { start, length: end - start },
            stack: stack.expect("there is a stack"),
            heap: nowhere,
            system: nowhere,
            stack_skip: 0,
        };
        let image = File::open(&path).expect("opens");
        let build_id = ElfFile::open(&image).expect("parses").build_id();
        Own { memory: File::open("/proc/self/mem").expect("opens"), maps, places, image, path, build_id }
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            image_path: &self.path,
            image_file: &self.image,
            symbols: None,
            build_id: self.build_id.as_deref(),
            places: &self.places,
            memory: self,
        }
    }
}

impl GuestMemory for Own {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.rights(address).is_some() && self.memory.read_exact_at(buffer, address).is_ok()
    }

    fn rights(&self, address: u64) -> Option<Rights> {
        self.maps.iter().find(|(extent, _)| extent.contains(address)).map(|(_, rights)| *rights)
    }
}

/// The registers at the place where this is inlined, as far as a caller's frame depends on them.
#[inline(always)]
fn capture() -> Registers {
    let mut saved = [0_u64; 8];
    // SAFETY: it stores eight registers into an array of that size and changes nothing else.
    unsafe {
        asm!(
            "mov [{saved}], rbx", "mov [{saved} + 8], rsp", "mov [{saved} + 16], rbp", "mov [{saved} + 24], r12",
            "mov [{saved} + 32], r13", "mov [{saved} + 40], r14", "mov [{saved} + 48], r15",
            "lea {scratch}, [rip]", "mov [{saved} + 56], {scratch}",
            saved = in(reg) saved.as_mut_ptr(), scratch = out(reg) _, options(nostack),
        );
    }
    let [rbx, rsp, rbp, r12, r13, r14, r15, rip] = saved;
    Registers { rbx, rsp, rbp, r12, r13, r14, r15, rip, ..Registers::default() }
}

type Look<'a> = &'a dyn Fn(Registers) -> Report;

#[inline(never)]
fn third(look: Look<'_>) -> Report {
    let registers = capture();
    black_box(look(registers))
}

#[inline(always)]
fn inlined(look: Look<'_>) -> Report {
    black_box(third(look))
}

#[inline(never)]
fn second(look: Look<'_>) -> Report {
    black_box(inlined(look))
}

#[inline(never)]
fn first(look: Look<'_>) -> Report {
    black_box(second(look))
}

#[inline(never)]
fn recursive(depth: u32, look: Look<'_>) -> Report {
    if depth == 0 { third(look) } else { black_box(recursive(black_box(depth - 1), look)) }
}

fn fault(registers: Registers, scene: Scene<'_>) -> Report {
    let fault = Fault { vector: 3, error_code: 0, address: 0, registers };
    describe(Cause::Fault(&fault), scene)
}

/// Asserts that lines with these words come in this order.
fn assert_in_order(text: &str, words: &[&str]) {
    let mut lines = text.lines();
    for word in words {
        assert!(lines.any(|line| line.contains(word)), "{word} is missing or out of order in\n{text}");
    }
}

#[test]
fn frames_of_a_real_process_are_named_with_files_and_lines() {
    let own = Own::new();
    let text = first(&|registers| fault(registers, own.scene())).to_string();
    assert_in_order(
        &text,
        &[
            "   0: coracle_tender::report::tests::native::",
            "native::third",
            "tender/src/report/tests/native.rs:",
            "native::inlined",
            "tender/src/report/tests/native.rs:",
            "native::second",
            "tender/src/report/tests/native.rs:",
            "native::first",
            "tender/src/report/tests/native.rs:",
            "native::frames_of_a_real_process_are_named_with_files_and_lines",
            "at library/",
        ],
    );
    assert!(text.contains("at tender/src/report/tests/native.rs:"), "paths start at the workspace\n{text}");
}

#[test]
fn an_inlined_function_stands_at_its_own_line() {
    let own = Own::new();
    let text = first(&|registers| fault(registers, own.scene())).to_string();
    let source = include_str!("native.rs");
    let line_of =
        |code: &str| source.lines().position(|line| line.contains(code)).expect("in the source") + 1;
    let at = |code: &str| format!("native.rs:{}:", line_of(code));
    assert_in_order(
        &text,
        &[&at("black_box(third(look)"), &at("black_box(inlined(look)"), &at("black_box(second(look)")],
    );
}

#[test]
fn deep_recursion_is_folded_and_followed_to_its_start() {
    let own = Own::new();
    let text = recursive(2000, &|registers| fault(registers, own.scene())).to_string();
    assert_in_order(&text, &["native::recursive", "the same frame 1", "deep_recursion_is_folded"]);
    assert!(text.lines().count() < 200, "{text}");
}

#[test]
fn a_jump_to_nowhere_is_traced_to_its_caller() {
    let own = Own::new();
    let report = first(&|registers| {
        // As if a function at address 16 had been called.
        let mut jumped = registers;
        jumped.rsp = find_return_address(&own, registers.rsp);
        jumped.rip = 16;
        let fault = Fault { vector: 14, error_code: 0x14, address: 16, registers: jumped };
        describe(Cause::Fault(&fault), own.scene())
    });
    let text = report.to_string();
    assert!(text.starts_with("coracle: guest crashed: jump to 0x10, a null pointer plus 16 bytes"), "{text}");
    assert_in_order(&text, &["   0: 0x10 ", "   1: "]);
}

/// The next stack slot that holds an address behind a call in the image.
fn find_return_address(own: &Own, from: u64) -> u64 {
    let is_return = |slot: &u64| {
        let mut word = [0; 8];
        let read = own.read(*slot, &mut word);
        let address = u64::from_le_bytes(word);
        read && own.places.image.contains(address) && super::super::instruction::follows_call(own, address)
    };
    (from..own.places.stack.end()).step_by(8).find(is_return).expect("somebody called this")
}

/// A copy of this executable, changed.
fn copy(own: &Own, change: impl FnOnce(&mut Vec<u8>)) -> tempfile::NamedTempFile {
    let mut bytes = std::fs::read(&own.path).expect("reads");
    change(&mut bytes);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("writes");
    file
}

/// Makes the names of these sections others, so that they are not found.
fn hide(bytes: &mut [u8], names: &[&[u8]]) {
    for name in names {
        let at: Vec<usize> =
            (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
        at.into_iter().for_each(|at| bytes[at + 1] = b'_');
    }
}

#[test]
fn without_debug_information_functions_are_named_from_the_symbols() {
    let own = Own::new();
    let stripped = copy(&own, |bytes| hide(bytes, &[b".debug_info\0"]));
    let text = first(&|registers| fault(registers, Scene { image_file: stripped.as_file(), ..own.scene() }))
        .to_string();
    assert_in_order(&text, &["native::third", "+0x", "native::first+0x"].map(|word| word));
    assert!(!text.contains("native.rs:"), "{text}");
}

#[test]
fn of_more_debug_information_than_is_read_the_report_says_so_and_takes_symbols() {
    const SIZE: u64 = 257 << 20;
    let own = Own::new();
    let large = copy(&own, |bytes| set_section_size(bytes, ".debug_info", SIZE));
    // A hole: nothing of it is written, and nothing of it may be read.
    large.as_file().set_len(large.as_file().metadata().expect("a length").len() + SIZE).expect("grows");
    let text = first(&|registers| fault(registers, Scene { image_file: large.as_file(), ..own.scene() }))
        .to_string();
    assert_in_order(
        &text,
        &["native::third+0x", "native::first+0x", ".debug_info it has more than 256 MiB of tables"],
    );
}

/// Changes the size in a section's header.
fn set_section_size(bytes: &mut [u8], name: &str, size: u64) {
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
    };
    let header = |index: usize| number(0x28, 8) + 64 * index;
    let names = number(header(number(0x3e, 2)) + 0x18, 8);
    let is_it = |index: &usize| bytes[names + number(header(*index), 4)..].starts_with(name.as_bytes());
    let at = header((0..number(0x3c, 2)).find(is_it).expect("there is one")) + 0x20;
    bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
}

#[test]
fn a_stripped_image_is_shown_by_offsets_with_a_hint() {
    let own = Own::new();
    let stripped = copy(&own, |bytes| hide(bytes, &[b".debug_info\0", b".symtab\0", b".dynsym\0"]));
    let text = first(&|registers| {
        fault(
            registers,
            Scene { image_file: stripped.as_file(), build_id: Some(&[0xab, 0xcd]), ..own.scene() },
        )
    })
    .to_string();
    assert_in_order(
        &text,
        &["   0: image+0x", "   1: image+0x", "   2: image+0x", "(build id abcd) with --symbols FILE"],
    );
}

#[test]
fn names_of_a_stripped_image_come_from_its_twin() {
    let own = Own::new();
    let stripped = copy(&own, |bytes| hide(bytes, &[b".debug_info\0", b".symtab\0", b".dynsym\0"]));
    let symbols = Some(own.path.as_path());
    let text = first(&|registers| {
        fault(registers, Scene { image_file: stripped.as_file(), symbols, ..own.scene() })
    })
    .to_string();
    assert_in_order(&text, &["native::third", "native.rs:", "native::first"]);
}

#[test]
fn a_twin_with_another_build_id_is_refused() {
    let own = Own::new();
    let stripped = copy(&own, |bytes| hide(bytes, &[b".debug_info\0", b".symtab\0", b".dynsym\0"]));
    let scene = Scene {
        image_file: stripped.as_file(),
        symbols: Some(own.path.as_path()),
        build_id: Some(&[1, 2, 3]),
        ..own.scene()
    };
    let text = first(&|registers| fault(registers, scene)).to_string();
    assert_in_order(&text, &["   0: image+0x", "it is not the same build: its build id is "]);
}

#[test]
fn a_twin_that_does_not_exist_is_said_so() {
    let own = Own::new();
    let symbols = Some(Path::new("/nonexistent/symbols"));
    let text = first(&|registers| fault(registers, Scene { symbols, ..own.scene() })).to_string();
    assert_in_order(&text, &["native::third", "no names from /nonexistent/symbols: it cannot be opened"]);
}
