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
    if let Some((width, write)) = string(code, wide) {
        return is_let_through(dx, width)
            .then_some(Use { exit: Exit::Port { port: dx, width, write }, length: 0 });
    }
    let (port, length, opcode) = match code {
        [opcode @ 0xe4..=0xe7, port, ..] => (u16::from(*port), 2, *opcode),
        [opcode @ 0xec..=0xef, ..] => (dx, 1, *opcode),
        _ => return None,
    };
    let width: u8 = if opcode & 1 == 0 { 1 } else { wide };
    if !is_let_through(port, width) {
        return None;
    }
    let write = opcode & 2 != 0;
    let exit = if write && width == 4 { Exit::Hypercall } else { Exit::Port { port, width, write } };
    Some(Use { exit, length: length + prefix })
}

/// The bytes that a string instruction moves at a time, and whether it writes.
fn string(code: &[u8], wide: u8) -> Option<(u8, bool)> {
    let code = match code {
        [0xf2 | 0xf3, rest @ ..] => rest,
        _ => code,
    };
    let opcode = code.first().filter(|opcode| (0x6c..=0x6f).contains(*opcode))?;
    Some((if opcode & 1 == 0 { 1 } else { wide }, opcode & 2 != 0))
}

fn is_let_through(port: u16, width: u8) -> bool {
    let first = u16::from(HYPERCALL_PORT);
    port >= first && port.checked_add(width.into()).is_some_and(|end| end <= first + 4)
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
        let reads = Exit::Port { port: 0x10, width: 1, write: false };
        assert_eq!(exit(&[0xf3, 0x6c], 0x10), Some((reads, 0)));
        assert_eq!(exit(&[0x6f], 0x10), Some((port(4, true), 0)));
        assert_eq!(exit(&[0xef], 0x3f8), None);
        assert_eq!(exit(&[0xef], 0x11), None);
        assert_eq!(exit(&[0x66], 0x10), None);
    }
}
