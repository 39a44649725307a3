//! Unwind rules that are small programs (DWARF 5, section 2.5).
//!
//! Procedure linkage tables and signal trampolines have them.

use super::GuestMemory;
use super::tables::Bytes;
use gimli::{Encoding, EvaluationResult, Expression, Register, Value};

/// How many operations a program may take.
const MAX_OPERATIONS: u32 = 1000;

/// Computes a program's value; `None` when it asks for what is not known or does not end.
pub(super) fn evaluate(
    (expression, encoding): (Expression<Bytes<'_>>, Encoding),
    initial: Option<u64>,
    register: impl Fn(Register) -> Option<u64>,
    memory: &dyn GuestMemory,
) -> Option<u64> {
    let mut evaluation = expression.evaluation(encoding);
    evaluation.set_max_iterations(MAX_OPERATIONS);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate().ok()?;
    loop {
        state = match state {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register: which, .. } => {
                evaluation.resume_with_register(Value::Generic(register(which)?)).ok()?
            }
            EvaluationResult::RequiresMemory { address, size, .. } => {
                let mut buffer = [0; 8];
                let part = buffer.get_mut(..usize::from(size))?;
                if !memory.read(address, part) {
                    return None;
                }
                evaluation.resume_with_memory(Value::Generic(u64::from_le_bytes(buffer))).ok()?
            }
            _ => return None,
        };
    }
    evaluation.value_result()?.to_u64(u64::MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::evaluate;
    use crate::report::tests::World;
    use gimli::{Encoding, EndianSlice, Expression, Format, LittleEndian};

    const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 5 };

    fn run(program: &[u8], initial: Option<u64>, world: &World) -> Option<u64> {
        let expression = Expression(EndianSlice::new(program, LittleEndian));
        evaluate(
            (expression, ENCODING),
            initial,
            |register| Some(u64::from(register.0) * 0x100),
            &world.memory,
        )
    }

    #[test]
    fn the_rule_of_a_linkage_table_is_computed() {
        // breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus
        let program = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(run(&program, None, &World::new()), Some(0x708));
    }

    #[test]
    fn memory_is_read_and_an_unreadable_address_ends_it() {
        let mut world = World::new();
        world.put(world.places.stack.start, &7_u64.to_le_bytes());
        let load = [0x06];
        assert_eq!(run(&load, Some(world.places.stack.start), &world), Some(7));
        assert_eq!(run(&load, Some(8), &world), None);
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        // skip -3
        assert_eq!(run(&[0x2f, 0xfd, 0xff], None, &World::new()), None);
    }
}
