//! What ARCHITECTURE.md says of the vCPU's segments is what the vCPU gets.

use coracle_tender::cpu::cpuid::Features;
use coracle_tender::cpu::descriptors::{GDT_LIMIT, IDT_LIMIT, IDT_OFFSET, TSS_OFFSET};
use coracle_tender::cpu::state::system_registers;
use coracle_tender::layout::{PAGE_TABLES, TABLES};

const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");

/// The cells of the row that begins with `name`, without the marks of code.
fn row(name: &str) -> Vec<String> {
    let start = format!("| {name} |");
    let line = ARCHITECTURE.lines().find(|line| line.starts_with(&start)).expect("a row");
    line.split('|').skip(2).map(|cell| cell.trim().replace(['`', '_'], "")).collect()
}

#[test]
fn the_table_of_segments_is_that_of_the_code() {
    let features = Features { fsgsbase: true, umip: false, xcr0: 7, invariant_tsc: true, physical_bits: 46 };
    // With the tables at 0, what the table gives relative to the system place is the address.
    let state = system_registers(PAGE_TABLES, 0_u64.wrapping_sub(TABLES), &features);
    for (name, segment) in [("CS", state.cs), ("SS", state.ss), ("TR", state.tr), ("DS ES FS GS", state.ds)] {
        let cells = row(name);
        let hexadecimal = |number: u64| if number == 0 { "0".to_owned() } else { format!("0x{number:x}") };
        assert_eq!(cells[0], hexadecimal(segment.selector.into()), "selector of {name}");
        let base = if segment.base == 0 { "0".to_owned() } else { format!("system + 0x{:x}", segment.base) };
        assert_eq!(cells[1], base, "base of {name}");
        assert_eq!(cells[2], hexadecimal(segment.limit.into()), "limit of {name}");
        let bits =
            [(segment.s, 4), (segment.dpl, 5), (segment.present, 7), (segment.l, 13), (segment.db, 14)];
        let rights = bits
            .iter()
            .fold(u32::from(segment.type_), |rights, (bit, place)| rights | u32::from(*bit) << place);
        let rights = rights | u32::from(segment.g) << 15 | u32::from(segment.unusable) << 16;
        let shown = u32::from_str_radix(cells[3].trim_start_matches("0x"), 16).expect("a number");
        assert_eq!(shown, rights, "access rights of {name}");
    }
    assert_eq!(row("GDTR")[1..3], ["system + 0".to_owned(), format!("0x{GDT_LIMIT:x}")]);
    assert_eq!(row("IDTR")[1..3], [format!("system + 0x{IDT_OFFSET:x}"), format!("0x{IDT_LIMIT:x}")]);
    assert_eq!(row("TR")[1], format!("system + 0x{TSS_OFFSET:x}"));
}

#[test]
fn the_table_of_control_registers_is_that_of_the_code() {
    let features = |umip| Features { fsgsbase: true, umip, xcr0: 7, invariant_tsc: true, physical_bits: 46 };
    let state = system_registers(PAGE_TABLES, 0, &features(false));
    let with_umip = system_registers(PAGE_TABLES, 0, &features(true));
    for (name, value) in [
        ("CR0", state.cr0),
        ("CR3", state.cr3),
        ("CR4", state.cr4),
        ("CR4", with_umip.cr4),
        ("EFER", state.efer),
        ("APIC base", state.apic_base),
    ] {
        let cell = &row(name)[1];
        let mut words = cell.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(words.any(|word| word == format!("0x{value:x}")), "{name} is {value:#x}, not {cell}");
    }
}
