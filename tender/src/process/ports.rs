//! Which port an instruction uses. Every use of a port stops a process; under KVM some come back as what they
//! are.

use crate::cpu::HYPERCALL_PORT;
use crate::machine::Exit;

/// An instruction that uses a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) exit: Exit,
    /// The bytes of the instruction.
    pub(super) length: u64,
}

/// What the instruction in `code` does with a port, `dx` where it takes that. `None` where it is none that the
/// bitmap of a VM's TSS lets through.
pub(super) fn used(code: &[u8], dx: u16) -> Option<Use> {
    const OPERAND_SIZE: u8 = 0x66;
    let (prefix, code) = match code {
        [OPERAND_SIZE, rest @ ..] => (1, rest),
        _ => (0, code),
    };
    let wide = if prefix == 1 { 2 } else { 4 };
    let (port, length, opcode) = match code {
        [opcode @ 0xe4..=0xe7, port, ..] => (u16::from(*port), 2, *opcode),
        [opcode @ 0xec..=0xef, ..] => (dx, 1, *opcode),
        _ => return None,
    };
    let width: u8 = if opcode & 1 == 0 { 1 } else { wide };
    let first = u16::from(HYPERCALL_PORT);
    if port < first || port.checked_add(width.into())? > first + 4 {
        return None;
    }
    let write = opcode & 2 != 0;
    let exit = if write && width == 4 { Exit::Hypercall } else { Exit::Port { port, width, write } };
    Some(Use { exit, length: length + prefix })
}

#[cfg(test)]
mod tests {
    use super::used;
    use crate::machine::Exit;

    #[test]
    fn only_writing_four_bytes_is_a_hypercall() {
        let exit = |code: &[u8], dx| used(code, dx).map(|used| (used.exit, used.length));
        assert_eq!(exit(&[0xe7, 0x10, 0xc3], 0), Some((Exit::Hypercall, 2)));
        assert_eq!(exit(&[0xef], 0x10), Some((Exit::Hypercall, 1)));
        let port = |width, write| Exit::Port { port: 0x10, width, write };
        assert_eq!(exit(&[0x66, 0xef], 0x10), Some((port(2, true), 2)));
        assert_eq!(exit(&[0xee], 0x10), Some((port(1, true), 1)));
        assert_eq!(exit(&[0xed], 0x10), Some((port(4, false), 1)));
        assert_eq!(exit(&[0xef], 0x3f8), None);
        assert_eq!(exit(&[0xef], 0x11), None);
        assert_eq!(exit(&[0x66], 0x10), None);
    }
}
