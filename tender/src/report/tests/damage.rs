//! Random guests and damaged files: never a panic that gets out, never a hang.

use super::{World, cases};
use crate::layout::{Extent, Places};
use crate::registers::Registers;
use crate::report::budget::Budget;
use crate::report::cause::Start;
use crate::report::elf::ElfFile;
use crate::report::fold::fold;
use crate::report::{Cause, Fault, GuestMemory, Scene, cause, unwind};
use coracle_hypercall::memory::{PAGE, Rights};
use proptest::prelude::*;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

const IMAGE: u64 = 0x0100_0000_3000;
const STACK: u64 = 0x2000_0000_0000;

/// A guest with a stack of random words and an image that is all code.
struct Noise {
    stack: Vec<u64>,
    image: Extent,
}

impl GuestMemory for Noise {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        buffer.iter_mut().enumerate().all(|(index, byte)| {
            let Some(at) = address.checked_add(index as u64) else { return false };
            if self.image.contains(at) {
                // Every address follows a call.
                *byte = if (at - self.image.start).is_multiple_of(2) { 0xff } else { 0xd0 };
                return true;
            }
            let word = at.checked_sub(STACK).and_then(|offset| self.stack.get((offset / 8) as usize));
            *byte = word.map_or(0, |word| word.to_le_bytes()[(at % 8) as usize]);
            word.is_some()
        })
    }

    fn rights(&self, address: u64) -> Option<Rights> {
        if self.image.contains(address) {
            Some(Rights::READ | Rights::EXECUTE)
        } else {
            self.read(address, &mut [0]).then_some(Rights::READ | Rights::WRITE)
        }
    }
}

/// A word that a stack could hold: an address of code, of the stack, or anything.
fn word(code: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..code).prop_map(|offset| IMAGE + offset),
        2 => (0_u64..4096).prop_map(|index| STACK + index * 8),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn any_registers_and_any_stack_are_unwound_to_an_end(
        stack in proptest::collection::vec(word(0x40_0000), 0..2000),
        registers in proptest::array::uniform16(word(0x40_0000)),
        rip in word(0x40_0000),
        rsp in 0_u64..2000,
    ) {
        let path = Path::new("/proc/self/exe");
        let file = File::open(path).expect("opens");
        let elf = ElfFile::open(&file).expect("parses");
        let image = Extent { start: IMAGE, length: 0x40_0000 };
        let words = stack.len();
        let memory = Noise { stack, image };
        let nowhere = Extent { start: 8 << 20, length: 0 };
        let places = Places {
            boot: IMAGE - 3 * PAGE,
            bias: IMAGE,
            image,
            stack: Extent { start: STACK, length: 1 << 16 },
            heap: nowhere,
            system: nowhere, stack_skip: 0 };
        let scene = Scene {
            image_path: path, image_file: &file, symbols: None, build_id: None, places: &places, memory: &memory,
        };
        let [rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, _] = registers;
        let registers = Registers {
            rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rsp: STACK + rsp * 8, rflags: 0,
        };
        let mut budget = Budget::new(Duration::from_secs(60));
        let trace = unwind::walk(&Start { registers, after: false }, &scene, Some(&elf), &mut budget);
        // The stack pointer only goes up, so there are no more frames than words.
        prop_assert!(trace.frames.len() <= words * 8 + 2);
        prop_assert!(!fold(&trace.frames).is_empty());
        let _ = trace.end.words(&scene);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn any_fault_has_a_sentence_and_a_status(
        vector in prop_oneof![Just(6_u8), Just(13), Just(14), any::<u8>()],
        error_code: u64,
        address: u64,
        values: [u64; 4],
        at in 0_u64..0x2000,
        code in proptest::collection::vec(any::<u8>(), 0..16),
    ) {
        let mut world = World::new();
        let rip = world.places.image.start + at;
        world.put(rip, &code);
        let [rax, rcx, rsp, rdi] = values;
        let registers = Registers { rip, rax, rcx, rsp, rdi, ..Registers::default() };
        let fault = Fault { vector, error_code, address, registers };
        let finding = cause::explain(&Cause::Fault(&fault), &world.scene());
        prop_assert!(finding.status >= 125 && !finding.headline.contains('\n'));
    }
}

#[test]
fn a_file_cut_anywhere_gives_no_trace_and_no_harm() {
    let whole = std::fs::read("/proc/self/exe").expect("reads");
    for part in 0..64 {
        let file = tempfile::tempfile().expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&file, &whole[..whole.len() / 64 * part], 0)
            .expect("writes");
        if let Ok(elf) = ElfFile::open(&file) {
            let _ = (elf.build_id(), elf.outline(), super::super::tables::Tables::load(&elf).is_ok());
            let _ = super::super::symbols::Symbols::load(&elf).is_ok();
        }
    }
}
