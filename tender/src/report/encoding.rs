//! Instructions taken apart: prefixes, opcode, ModRM and memory operand (Intel SDM volume 2, chapter
//! 2). What they mean is for [`instruction`](super::instruction) to know.

/// The numbering that an opcode belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    One,
    /// After 0f.
    Two,
    /// After 0f 38 or 0f 3a.
    Three,
}

/// How an instruction starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) map: Map,
    pub(super) opcode: u8,
    pub(super) mod_rm: Option<u8>,
    /// Whether a prefix adds 8 to the register number in ModRM's low bits.
    pub(super) extended: bool,
    pub(super) operand: Option<Operand>,
    /// The byte after the opcode where there is no ModRM.
    pub(super) immediate: Option<u8>,
}

/// A memory operand: base + index × scale + displacement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub(super) base: Option<u8>,
    pub(super) index: Option<u8>,
    pub(super) scale: u8,
    pub(super) displacement: i64,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.checked_add(1)?;
        Some(byte)
    }

    fn displacement(&mut self, length: usize) -> Option<i64> {
        if length == 1 {
            return Some(i64::from(self.next()? as i8));
        }
        let mut word = [0; 4];
        for byte in &mut word {
            *byte = self.next()?;
        }
        Some(i64::from(i32::from_le_bytes(word)))
    }
}

/// The bits that extend register numbers.
#[derive(Default)]
struct Rex {
    base: bool,
    index: bool,
}

impl Instruction {
    /// Reads the start of an instruction; `None` when it does not fit the bytes or is encoded in a
    /// way that this does not know (EVEX).
    pub(super) fn decode(bytes: &[u8]) -> Option<Instruction> {
        let mut cursor = Cursor { bytes, at: 0 };
        // FS and GS have bases that are not at hand, 67 makes addresses 32 bits wide.
        let mut known_address = true;
        while let Some(
            prefix @ (0x66 | 0x67 | 0xf2 | 0xf3 | 0xf0 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65),
        ) = cursor.peek()
        {
            known_address &= !matches!(prefix, 0x64 | 0x65 | 0x67);
            cursor.next()?;
        }
        let mut rex = Rex::default();
        if let Some(byte @ 0x40..=0x4f) = cursor.peek() {
            rex = Rex { base: byte & 1 != 0, index: byte & 2 != 0 };
            cursor.next()?;
        }
        let (map, opcode) = match cursor.next()? {
            0x0f => match cursor.next()? {
                0x38 | 0x3a => (Map::Three, cursor.next()?),
                opcode => (Map::Two, opcode),
            },
            // VEX: register extensions are stored inverted.
            0xc5 => {
                cursor.next()?;
                (Map::Two, cursor.next()?)
            }
            0xc4 => {
                let first = cursor.next()?;
                cursor.next()?;
                rex = Rex { base: first & 0x20 == 0, index: first & 0x40 == 0 };
                let map = if first & 0x1f == 1 { Map::Two } else { Map::Three };
                (map, cursor.next()?)
            }
            0x62 => return None,
            opcode => (Map::One, opcode),
        };
        let mut instruction = Instruction {
            map,
            opcode,
            mod_rm: None,
            extended: rex.base,
            operand: None,
            immediate: cursor.peek(),
        };
        if has_mod_rm(map, opcode) {
            let mod_rm = cursor.next()?;
            instruction.mod_rm = Some(mod_rm);
            instruction.operand = operand(mod_rm, &rex, &mut cursor)?.filter(|_| known_address);
        }
        Some(instruction)
    }
}

/// Whether ModRM follows an opcode.
fn has_mod_rm(map: Map, opcode: u8) -> bool {
    match map {
        Map::One => match opcode {
            0x00..=0x3f => opcode & 7 < 4,
            0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc6 | 0xc7 | 0xd0..=0xd3 | 0xd8..=0xdf => true,
            0xf6 | 0xf7 | 0xfe | 0xff => true,
            _ => false,
        },
        Map::Two => !matches!(
            opcode,
            0x05..=0x0b | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf
        ),
        Map::Three => true,
    }
}

/// Reads the rest of an operand: `Some(None)` for a register, and for an address relative to RIP,
/// which needs the length of the whole instruction.
fn operand(mod_rm: u8, rex: &Rex, cursor: &mut Cursor<'_>) -> Option<Option<Operand>> {
    let (mode, low) = (mod_rm >> 6, mod_rm & 7);
    if mode == 3 || (mode == 0 && low == 5) {
        return Some(None);
    }
    let mut operand = Operand { base: Some(extend(low, rex.base)), index: None, scale: 0, displacement: 0 };
    let mut displacement = match mode {
        1 => 1,
        2 => 4,
        _ => 0,
    };
    if low == 4 {
        let sib = cursor.next()?;
        let index = extend(sib >> 3 & 7, rex.index);
        operand.index = (index != 4).then_some(index);
        operand.scale = sib >> 6;
        operand.base = Some(extend(sib & 7, rex.base));
        if sib & 7 == 5 && mode == 0 {
            operand.base = None;
            displacement = 4;
        }
    }
    if displacement > 0 {
        operand.displacement = cursor.displacement(displacement)?;
    }
    Some(Some(operand))
}

/// A register's number with the bit that a prefix adds.
pub(super) fn extend(number: u8, extended: bool) -> u8 {
    number | if extended { 8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{Instruction, Map};

    #[test]
    fn a_cut_instruction_is_not_decoded() {
        assert!(Instruction::decode(&[]).is_none());
        assert!(Instruction::decode(&[0x0f]).is_none());
        assert!(Instruction::decode(&[0x8b, 0x84, 0xc8, 0]).is_none());
        assert_eq!(Instruction::decode(&[0x0f, 0x05]).map(|instruction| instruction.map), Some(Map::Two));
    }
}
