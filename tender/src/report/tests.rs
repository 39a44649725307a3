//! A made-up guest for the tests of all modules, and tests of whole reports.

use super::*;
use crate::layout::Extent;
use coracle_hypercall::memory::PAGE;
use std::collections::HashMap;
use std::path::PathBuf;

mod cause;
mod damage;
mod native;

/// How many cases a property test takes: few, unless a long run asks for more.
pub(super) fn cases() -> u32 {
    std::env::var("CORACLE_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

/// Memory made of places with rights, in which bytes can be put.
#[derive(Default)]
pub(super) struct FakeMemory {
    mapped: Vec<(Extent, Option<Rights>)>,
    bytes: HashMap<u64, u8>,
}

impl GuestMemory for FakeMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        buffer.iter_mut().enumerate().all(|(index, byte)| {
            let Some(at) = address.checked_add(index as u64) else { return false };
            *byte = self.bytes.get(&at).copied().unwrap_or(0);
            self.rights(at).is_some_and(|rights| rights.contains(Rights::READ))
        })
    }

    fn rights(&self, address: u64) -> Option<Rights> {
        // What was said last counts.
        let entry = self.mapped.iter().rev().find(|(extent, _)| extent.contains(address));
        entry.and_then(|(_, rights)| *rights)
    }
}

/// A guest whose image has a page or two of each kind.
pub(super) struct World {
    pub(super) places: Places,
    pub(super) memory: FakeMemory,
    file: File,
    path: PathBuf,
}

const BOOT: u64 = 0x0100_0000_0000;
const IMAGE: u64 = BOOT + 3 * PAGE;

impl World {
    pub(super) fn new() -> World {
        let places = Places {
            boot: BOOT,
            bias: IMAGE,
            image: Extent { start: IMAGE, length: 6 * PAGE },
            stack: Extent { start: 0x2000_0000_0000, length: 2 << 20 },
            heap: Extent { start: 0x3000_0000_0000, length: 64 << 20 },
            system: Extent { start: 0x4000_0000_0000, length: 1 << 20 },
            stack_skip: 0,
        };
        let pages = |start, count| Extent { start, length: count * PAGE };
        let (r, rw, rx) = (Rights::READ, Rights::READ | Rights::WRITE, Rights::READ | Rights::EXECUTE);
        let mapped = vec![
            (pages(BOOT, 1), Some(r)),
            (pages(BOOT + PAGE, 1), Some(rx)),
            (pages(IMAGE, 2), Some(rx)),
            (pages(IMAGE + 2 * PAGE, 2), Some(r)),
            (pages(IMAGE + 4 * PAGE, 2), Some(rw)),
            (places.stack, Some(rw)),
            (places.heap, Some(rw)),
        ];
        let memory = FakeMemory { mapped, bytes: HashMap::new() };
        let path = PathBuf::from("/proc/self/exe");
        let file = File::open(&path).expect("the test's own executable");
        World { places, memory, file, path }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            image_path: &self.path,
            image_file: &self.file,
            symbols: None,
            build_id: None,
            places: &self.places,
            memory: &self.memory,
        }
    }

    pub(super) fn put(&mut self, address: u64, bytes: &[u8]) {
        self.memory.bytes.extend((address..).zip(bytes.iter().copied()));
    }

    pub(super) fn forbid(&mut self, start: u64, length: u64) {
        self.memory.mapped.push((Extent { start, length }, None));
    }

    pub(super) fn constants(&self) -> u64 {
        self.places.image.start + 2 * PAGE + 8
    }

    pub(super) fn data(&self) -> u64 {
        self.places.image.start + 4 * PAGE + 8
    }
}

fn write_to_constants(world: &World) -> Report {
    let registers =
        Registers { rip: BOOT + PAGE, rsp: world.places.stack.start + 64, ..Registers::default() };
    let fault = Fault { vector: 14, error_code: 7, address: world.constants(), registers };
    describe(Cause::Fault(&fault), world.scene())
}

#[test]
fn a_fault_is_printed_with_registers_and_the_reason_why_the_trace_ends() {
    let mut world = World::new();
    world.put(world.places.stack.start + 64, &0x1234_u64.to_le_bytes());
    let text = write_to_constants(&world).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "coracle: guest crashed: write to 0x10000005008, which is read-only (image, constants)"
    );
    assert_eq!(lines[1], "   0: 0x10000001000 (the entry page)");
    assert_eq!(lines[2], "   1: 0x1234 (a null pointer plus 4659 bytes)");
    assert_eq!(lines[3], "      (the trace ends here: 0x1234 is no code; the stack may be damaged)");
    assert!(lines[4].starts_with("  rax   0000000000000000   rbx   0000000000000000   rcx "), "{text}");
    assert!(text.contains("rip   0000010000001000"), "{text}");
    assert!(text.contains("cr2   0000010000005008"), "{text}");
}

#[test]
fn a_panic_is_printed_without_registers_from_the_caller_of_the_entry_page() {
    let mut world = World::new();
    world.put(world.places.stack.start, &0x1234_u64.to_le_bytes());
    let registers = Registers { rip: BOOT + PAGE, rsp: world.places.stack.start, ..Registers::default() };
    let cause = Cause::Panic {
        message: "index out of bounds\nreally".to_owned(),
        file: "src/main.rs".to_owned(),
        line: 7,
        column: 9,
        registers,
    };
    let report = describe(cause, world.scene());
    let text = report.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "coracle: guest panicked at src/main.rs:7:9:");
    assert_eq!(lines[1..3], ["index out of bounds", "really"]);
    assert!(lines[3].starts_with("   0: 0x1234 "), "{text}");
    assert!(!text.contains("rax"), "{text}");
    assert_eq!(report.status(), coracle_hypercall::exit::PANIC);
}

#[test]
fn a_report_is_serialised_with_addresses_as_text() {
    let world = World::new();
    let json = serde_json::to_value(write_to_constants(&world)).expect("serialises");
    assert_eq!(json["status"], 139);
    assert_eq!(json["trace"][0]["kind"], "frame");
    assert_eq!(json["trace"][0]["address"], "0x10000001000");
    assert_eq!(json["registers"][16], serde_json::json!(["rip", "0x10000001000"]));
}

#[test]
fn a_file_that_is_no_image_costs_the_trace_and_not_the_report() {
    let mut world = World::new();
    world.file = tempfile::tempfile().expect("a file");
    let report = write_to_constants(&world);
    let text = report.to_string();
    assert_eq!(report.status(), 139);
    assert!(
        text.contains("note: no unwind tables or names from /proc/self/exe: it is not an ELF file"),
        "{text}"
    );
}
