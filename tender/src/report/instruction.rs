//! What the few instructions that a report names do.
//!
//! This is no disassembler: it knows by name what a guest may not execute, and computes the address
//! of a memory operand. How instructions are written is in [`encoding`](super::encoding).

use super::GuestMemory;
use super::encoding::{Instruction, Map, Operand, extend};
use super::place::is_executable;
use crate::registers::Registers;

/// The length of the longest instruction.
const LONGEST: usize = 15;

/// Reads the bytes of the instruction at `address`: fewer than the longest where memory ends.
pub(super) fn fetch(memory: &dyn GuestMemory, address: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST);
    let mut at = address;
    while bytes.len() < LONGEST {
        let mut byte = [0];
        if !is_executable(memory, at) || !memory.read(at, &mut byte) {
            break;
        }
        bytes.extend(byte);
        let Some(next) = at.checked_add(1) else { break };
        at = next;
    }
    bytes
}

/// Whether the bytes just before `address` can be a `call` that returns to it: `call rel32`, or a
/// call through a register or memory in any of its lengths.
pub(super) fn follows_call(memory: &dyn GuestMemory, address: u64) -> bool {
    if !is_executable(memory, address) {
        return false;
    }
    let mut before = [0; 7];
    let read = |buffer: &mut [u8]| {
        address.checked_sub(buffer.len() as u64).is_some_and(|start| memory.read(start, buffer))
    };
    // A function at the very start of a mapping has fewer than seven bytes before it.
    if !read(&mut before) {
        let Some(tail) = before.get_mut(2..) else { return false };
        if !read(tail) {
            return false;
        }
    }
    let byte =
        |back: usize| before.len().checked_sub(back).and_then(|at| before.get(at)).copied().unwrap_or(0);
    let indirect = |back: usize| byte(back) == 0xff && byte(back - 1) & 0x38 == 0x10;
    byte(5) == 0xe8 || (2..=7).any(indirect)
}

impl Instruction {
    /// The operation field of ModRM.
    fn operation(&self) -> Option<u8> {
        self.mod_rm.map(|byte| byte >> 3 & 7)
    }

    /// Whether it is one of the ways to ask an operating system for something, and which.
    pub(super) fn system_call(&self) -> Option<&'static str> {
        match (self.map, self.opcode) {
            (Map::Two, 0x05) => Some("syscall"),
            (Map::Two, 0x34) => Some("sysenter"),
            (Map::One, 0xcd) if self.immediate == Some(0x80) => Some("int 0x80"),
            _ => None,
        }
    }

    /// Whether it is an instruction that programs use to stop themselves.
    pub(super) fn is_ud2(&self) -> bool {
        self.map == Map::Two && self.opcode == 0x0b
    }

    /// The name of an instruction that a guest may not execute.
    pub(super) fn forbidden(&self) -> Option<String> {
        let memory = self.mod_rm.is_some_and(|byte| byte < 0xc0);
        let name = match (self.map, self.opcode) {
            (Map::One, 0xfa) => "cli",
            (Map::One, 0xfb) => "sti",
            (Map::One, 0xf4) => "hlt",
            (Map::One, 0xf1) => "int1",
            (Map::One, 0xcf) => "iret",
            (Map::One, 0xe4 | 0xe5 | 0xec | 0xed) => "in",
            (Map::One, 0xe6 | 0xe7 | 0xee | 0xef) => "out",
            (Map::One, 0x6c | 0x6d) => "ins",
            (Map::One, 0x6e | 0x6f) => "outs",
            (Map::One, 0xcd) => return self.immediate.map(|number| format!("int {number:#x}")),
            (Map::One, 0x8e) => "mov to a segment register",
            (Map::One, 0xca | 0xcb) => "far return",
            (Map::One, 0xff) if self.operation() == Some(3) => "far call",
            (Map::One, 0xff) if self.operation() == Some(5) => "far jump",
            (Map::Two, 0x00) => ["sldt", "str", "lldt", "ltr"].get(usize::from(self.operation()?))?,
            (Map::Two, 0x01) if memory => ["sgdt", "sidt", "lgdt", "lidt", "smsw", "", "lmsw", "invlpg"]
                .get(usize::from(self.operation()?))?,
            (Map::Two, 0x01) => match self.mod_rm? {
                0xc1 => "vmcall",
                0xd9 => "vmmcall",
                0xd1 => "xsetbv",
                0xf8 => "swapgs",
                0xca => "clac",
                0xcb => "stac",
                0xe0..=0xe7 => "smsw",
                0xf0..=0xf7 => "lmsw",
                _ => return None,
            },
            (Map::Two, 0x06) => "clts",
            (Map::Two, 0x07) => "sysret",
            (Map::Two, 0x08) => "invd",
            (Map::Two, 0x09) => "wbinvd",
            (Map::Two, 0x20) => "mov from a control register",
            (Map::Two, 0x22) => "mov to a control register",
            (Map::Two, 0x21) => "mov from a debug register",
            (Map::Two, 0x23) => "mov to a debug register",
            (Map::Two, 0x30) => "wrmsr",
            (Map::Two, 0x31) => "rdtsc",
            (Map::Two, 0x32) => "rdmsr",
            (Map::Two, 0x33) => "rdpmc",
            (Map::Two, 0x35) => "sysexit",
            _ => return None,
        };
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Where a return, or a jump or call through a register or memory, leads.
    pub(super) fn target(&self, registers: &Registers, memory: &dyn GuestMemory) -> Option<u64> {
        let load = |address| super::place::read_u64(memory, address);
        match (self.map, self.opcode, self.operation()) {
            (Map::One, 0xc2 | 0xc3, _) => load(registers.rsp),
            (Map::One, 0xff, Some(2 | 4)) => match self.mod_rm? {
                direct @ 0xc0.. => Some(register(registers, extend(direct & 7, self.extended))),
                _ => load(self.operand?.address(registers)),
            },
            _ => None,
        }
    }

    /// The addresses that it accesses through its operands, as far as they can be told.
    pub(super) fn accesses(&self, registers: &Registers) -> Vec<u64> {
        match (self.map, self.opcode) {
            // String instructions name no operand.
            (Map::One, 0xa4..=0xa7) => vec![registers.rsi, registers.rdi],
            (Map::One, 0xaa | 0xab | 0xae | 0xaf) => vec![registers.rdi],
            (Map::One, 0xac | 0xad) => vec![registers.rsi],
            // `lea` accesses nothing, and 0f 1f is a `nop`.
            (Map::One, 0x8d) | (Map::Two, 0x1f) => Vec::new(),
            _ => self.operand.map(|operand| operand.address(registers)).into_iter().collect(),
        }
    }
}

impl Operand {
    fn address(&self, registers: &Registers) -> u64 {
        let base = self.base.map_or(0, |number| register(registers, number));
        let index = self.index.map_or(0, |number| register(registers, number));
        base.wrapping_add(index << self.scale).wrapping_add_signed(self.displacement)
    }
}

/// A register by its number in instructions.
fn register(r: &Registers, number: u8) -> u64 {
    match number {
        0 => r.rax,
        1 => r.rcx,
        2 => r.rdx,
        3 => r.rbx,
        4 => r.rsp,
        5 => r.rbp,
        6 => r.rsi,
        7 => r.rdi,
        8 => r.r8,
        9 => r.r9,
        10 => r.r10,
        11 => r.r11,
        12 => r.r12,
        13 => r.r13,
        14 => r.r14,
        _ => r.r15,
    }
}

#[cfg(test)]
mod tests {
    use super::Instruction;
    use crate::registers::Registers;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Instruction {
        Instruction::decode(bytes).expect("decodes")
    }

    #[test]
    fn privileged_instructions_are_known_by_name() {
        let cases: [(&[u8], &str); 14] = [
            (&[0xfa], "cli"),
            (&[0xf4], "hlt"),
            (&[0x0f, 0x30], "wrmsr"),
            (&[0x0f, 0x22, 0xd8], "mov to a control register"),
            (&[0x0f, 0x01, 0x10], "lgdt"),
            (&[0x0f, 0x01, 0xf8], "swapgs"),
            (&[0x0f, 0x01, 0xd1], "xsetbv"),
            (&[0x0f, 0x00, 0xd8], "ltr"),
            (&[0x66, 0xef], "out"),
            (&[0xec], "in"),
            (&[0x48, 0xcf], "iret"),
            (&[0xcd, 0x20], "int 0x20"),
            (&[0x8e, 0xd8], "mov to a segment register"),
            (&[0x48, 0xff, 0x28], "far jump"),
        ];
        for (bytes, name) in cases {
            assert_eq!(decode(bytes).forbidden().as_deref(), Some(name), "{bytes:02x?}");
        }
    }

    #[test]
    fn ordinary_instructions_are_not_forbidden() {
        for bytes in [&[0x90][..], &[0x48, 0x8b, 0x00], &[0xff, 0xd0], &[0x0f, 0x1f, 0x00], &[0xc3]] {
            assert_eq!(decode(bytes).forbidden(), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn addresses_of_operands_follow_base_index_scale_and_displacement() {
        let registers = Registers {
            rax: 0x1000,
            rcx: 0x10,
            rbp: 0x7000,
            r9: 0x9000,
            r12: 3,
            rsp: 0x500,
            ..Registers::default()
        };
        let cases: [(&[u8], u64); 7] = [
            (&[0x48, 0x8b, 0x00], 0x1000),                           // mov rax, [rax]
            (&[0x8b, 0x45, 0xf8], 0x6ff8),                           // mov eax, [rbp-8]
            (&[0x8b, 0x84, 0xc8, 0, 1, 0, 0], 0x1180),               // mov eax, [rax+rcx*8+0x100]
            (&[0x43, 0x8b, 0x04, 0xa1], 0x900c),                     // mov eax, [r9+r12*4]
            (&[0x8b, 0x04, 0x24], 0x500),                            // mov eax, [rsp]
            (&[0x8b, 0x04, 0x25, 0xff, 0xff, 0xff, 0xff], u64::MAX), // mov eax, [-1]
            (&[0xc4, 0xc1, 0x7c, 0x28, 0x01], 0x9000),               // vmovaps ymm0, [r9]
        ];
        for (bytes, address) in cases {
            assert_eq!(decode(bytes).accesses(&registers), [address], "{bytes:02x?}");
        }
    }

    #[test]
    fn operands_that_need_more_than_registers_have_no_address() {
        for bytes in [&[0x8b, 0x05, 0, 0, 0, 0][..], &[0x64, 0x8b, 0x00], &[0x8b, 0xc0], &[0x48, 0x8d, 0x00]]
        {
            assert!(decode(bytes).accesses(&Registers::default()).is_empty(), "{bytes:02x?}");
        }
    }

    #[test]
    fn string_instructions_access_what_rsi_and_rdi_point_to() {
        let registers = Registers { rsi: 1, rdi: 2, ..Registers::default() };
        assert_eq!(decode(&[0xf3, 0xa4]).accesses(&registers), [1, 2]);
        assert_eq!(decode(&[0xf3, 0x48, 0xab]).accesses(&registers), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::report::tests::cases()))]
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..16), value: u64) {
            let registers = Registers { rax: value, rsp: value, rdi: value, rbp: value, ..Registers::default() };
            if let Some(instruction) = Instruction::decode(&bytes) {
                let _ = (instruction.forbidden(), instruction.accesses(&registers), instruction.system_call());
            }
        }
    }
}
