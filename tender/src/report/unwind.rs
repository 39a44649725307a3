//! From frame to frame.
//!
//! Registers, stack and tables are the guest's, so every step is checked: the stack pointer only
//! goes up, the number of frames and the time are bounded. A guess is made in two cases only, and
//! believed only where it leads right behind a `call` instruction; the stack is never searched for
//! what might be an address.

use super::budget::{Budget, Exhausted};
use super::cause::Start;
use super::elf::{ElfError, ElfFile};
use super::expression::evaluate;
use super::instruction::follows_call;
use super::place::{Place, is_executable, locate, read_u64};
use super::tables::{Rules, Tables};
use super::{GuestMemory, Scene};
use crate::registers::Registers;
use gimli::{CfaRule, Register, RegisterRule};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// More frames than a stack of 8 MiB usually holds.
const MAX_FRAMES: usize = 1 << 18;

/// How many addresses' rules are kept; recursion needs only a few.
const MAX_KEPT: usize = 1 << 10;

/// The numbers that DWARF gives to registers (System V ABI for AMD64, figure 3.36).
const RBP: usize = 6;
const RSP: usize = 7;
const RIP: usize = 16;

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it goes on.
    pub(super) address: u64,
    /// An address within the instruction that it is at: a return address is the one after a call,
    /// which may belong to another line or function.
    pub(super) lookup: u64,
}

/// The frames, innermost first, and why there are no more.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) frames: Vec<Frame>,
    pub(super) end: End,
}

/// Why a trace ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// At the first function of all.
    Outermost,
    /// The image cannot be read; the report says so elsewhere.
    NoImage,
    NoTables,
    UnusableTables(String),
    /// The tables do not know the code at this address.
    UnknownCode(u64),
    /// The return address leads to where there is no code.
    NotCode(u64),
    /// The stack cannot be read there.
    Unreadable(u64),
    /// The caller's frame would not lie above its callee's.
    NotUpwards(u64),
    /// A rule could not be followed.
    Rule(u64),
    TooMany,
    OutOfTime,
}

impl End {
    pub(super) fn words(&self, scene: &Scene<'_>) -> Option<String> {
        let image = scene.image_path.display();
        match self {
            End::Outermost | End::NoImage | End::OutOfTime => None,
            End::NoTables => Some(format!("{image} has no unwind tables (.eh_frame)")),
            End::UnusableTables(error) => Some(format!("the unwind tables of {image} are unusable: {error}")),
            End::UnknownCode(address) => Some(format!("the unwind tables do not cover {address:#x}")),
            End::NotCode(address) => Some(format!("{address:#x} is no code; the stack may be damaged")),
            End::Unreadable(address) => Some(format!("the stack cannot be read at {address:#x}")),
            End::NotUpwards(address) => Some(format!("the stack is damaged at {address:#x}")),
            End::Rule(address) => Some(format!("the unwind rules at {address:#x} cannot be followed")),
            End::TooMany => Some(format!("{MAX_FRAMES} frames are enough")),
        }
    }
}

impl From<Exhausted> for End {
    fn from(Exhausted: Exhausted) -> End {
        End::OutOfTime
    }
}

/// Registers by DWARF's numbers, as far as they are known.
#[derive(Debug, Clone)]
struct Context {
    registers: [Option<u64>; RIP],
    pc: u64,
    /// Whether `pc` is after the instruction that the frame is at.
    after: bool,
}

impl Context {
    fn new(start: &Start) -> Context {
        let r: &Registers = &start.registers;
        let registers = [
            r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
            r.r14, r.r15,
        ];
        Context { registers: registers.map(Some), pc: r.rip, after: start.after }
    }

    fn get(&self, number: usize) -> Option<u64> {
        if number == RIP { Some(self.pc) } else { self.registers.get(number).copied().flatten() }
    }

    fn set(&mut self, number: usize, value: Option<u64>) {
        if let Some(register) = self.registers.get_mut(number) {
            *register = value;
        }
    }

    fn lookup(&self) -> u64 {
        if self.after { self.pc.wrapping_sub(1) } else { self.pc }
    }

    /// The context after a return to the address in a stack slot.
    fn returned(&self, slot: u64, memory: &dyn GuestMemory) -> Result<Context, End> {
        let pc = read_u64(memory, slot).ok_or(End::Unreadable(slot))?;
        let mut caller = Context { pc, after: true, ..self.clone() };
        caller.set(RSP, slot.checked_add(8));
        Ok(caller)
    }
}

/// Follows the stack from where the guest stopped.
pub(super) fn walk(
    start: &Start,
    scene: &Scene<'_>,
    image: Option<&ElfFile<'_>>,
    budget: &mut Budget,
) -> Trace {
    let mut frames = Vec::new();
    let mut walker = Walker { scene, tables: load(image), kept: HashMap::new() };
    // gimli computes with values of the file without checking for overflow: where that panics
    // (builds with overflow checks), it costs the rest of the trace and not the tender.
    let end = catch_unwind(AssertUnwindSafe(|| walker.run(Context::new(start), &mut frames, budget)));
    let end = end.unwrap_or_else(|_| End::UnusableTables("they are damaged".to_owned()));
    Trace { frames, end }
}

fn load(image: Option<&ElfFile<'_>>) -> Result<Tables, End> {
    let unusable = |error: ElfError| End::UnusableTables(error.to_string());
    Tables::load(image.ok_or(End::NoImage)?).map_err(unusable)?.ok_or(End::NoTables)
}

struct Walker<'a> {
    scene: &'a Scene<'a>,
    tables: Result<Tables, End>,
    kept: HashMap<u64, Option<Rc<Rules>>>,
}

impl Walker<'_> {
    fn run(&mut self, mut context: Context, frames: &mut Vec<Frame>, budget: &mut Budget) -> End {
        loop {
            if frames.len() >= MAX_FRAMES {
                return End::TooMany;
            }
            frames.push(Frame { address: context.pc, lookup: context.lookup() });
            let stack = context.get(RSP);
            let step = match budget.spend(16) {
                Ok(()) => self.caller(&context, frames.len() == 1, budget),
                Err(exhausted) => Err(exhausted.into()),
            };
            context = match step {
                Ok(caller) if caller.pc == 0 => return End::Outermost,
                Ok(caller) if caller.get(RSP) <= stack => return End::NotUpwards(stack.unwrap_or(0)),
                Ok(caller) => caller,
                Err(end) => return end,
            };
        }
    }

    /// The caller of a frame.
    fn caller(&mut self, context: &Context, innermost: bool, budget: &mut Budget) -> Result<Context, End> {
        let memory = self.scene.memory;
        let place = locate(context.lookup(), self.scene);
        if innermost && place == Place::Entry {
            // The entry page leaves the stack as the call made it.
            let slot = context.get(RSP).ok_or(End::UnknownCode(context.pc))?;
            return context.returned(slot, memory);
        }
        if !is_executable(memory, context.lookup()) {
            // The guest jumped to where there is no code. If that was a call, its return address is
            // on top of the stack.
            return self.after_call(context, innermost).ok_or(End::NotCode(context.pc));
        }
        if place == Place::Image
            && let Some(rules) = self.rules(context.lookup(), budget)?
        {
            return self.apply(&rules, context);
        }
        self.after_call(context, innermost)
            .or_else(|| self.frame_pointer(context))
            .ok_or(End::UnknownCode(context.pc))
    }

    /// The caller of an innermost function that has not touched the stack, if it looks like one.
    fn after_call(&self, context: &Context, innermost: bool) -> Option<Context> {
        let caller = context.returned(context.get(RSP)?, self.scene.memory).ok()?;
        (innermost && follows_call(self.scene.memory, caller.pc)).then_some(caller)
    }

    /// The caller through a frame pointer, if it looks like one.
    fn frame_pointer(&self, context: &Context) -> Option<Context> {
        let frame =
            context.get(RBP).filter(|frame| frame.is_multiple_of(8) && Some(*frame) >= context.get(RSP))?;
        let mut caller = context.returned(frame.checked_add(8)?, self.scene.memory).ok()?;
        caller.set(RBP, read_u64(self.scene.memory, frame));
        follows_call(self.scene.memory, caller.pc).then_some(caller)
    }

    fn rules(&mut self, lookup: u64, budget: &mut Budget) -> Result<Option<Rc<Rules>>, End> {
        if let Some(rules) = self.kept.get(&lookup) {
            return Ok(rules.clone());
        }
        budget.spend_much()?;
        let tables = self.tables.as_ref().map_err(Clone::clone)?;
        let address = lookup.wrapping_sub(self.scene.places.bias);
        let rules =
            tables.rules(address).map_err(|error| End::UnusableTables(error.to_string()))?.map(Rc::new);
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(lookup, rules.clone());
        Ok(rules)
    }

    fn apply(&self, rules: &Rules, context: &Context) -> Result<Context, End> {
        let memory = self.scene.memory;
        let broken = || End::Rule(context.pc);
        let register = |register: Register| context.get(usize::from(register.0));
        let tables = self.tables.as_ref().map_err(Clone::clone)?;
        let compute =
            |expression, initial| evaluate(tables.expression(rules, expression)?, initial, register, memory);
        let cfa = match &rules.cfa {
            CfaRule::RegisterAndOffset { register: base, offset } => {
                register(*base).and_then(|base| base.checked_add_signed(*offset))
            }
            CfaRule::Expression(expression) => compute(expression, None),
        };
        let cfa = cfa.ok_or_else(broken)?;
        let load = |address: u64| read_u64(memory, address).ok_or(End::Unreadable(address));
        let mut caller = context.clone();
        caller.set(RSP, Some(cfa));
        let mut return_address = None;
        for (number, rule) in &rules.registers {
            let value = match rule {
                RegisterRule::Undefined => None,
                RegisterRule::SameValue => register(*number),
                RegisterRule::Offset(offset) => Some(load(cfa.wrapping_add_signed(*offset))?),
                RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
                RegisterRule::Register(other) => register(*other),
                RegisterRule::Expression(expression) => {
                    Some(load(compute(expression, Some(cfa)).ok_or_else(broken)?)?)
                }
                RegisterRule::ValExpression(expression) => compute(expression, Some(cfa)),
                _ => return Err(broken()),
            };
            if *number == rules.return_address {
                return_address = value;
            } else {
                caller.set(usize::from(number.0), value);
            }
        }
        // A return address that is said not to exist marks the outermost function.
        caller.pc = return_address.ok_or(End::Outermost)?;
        caller.after = !rules.is_signal;
        Ok(caller)
    }
}
