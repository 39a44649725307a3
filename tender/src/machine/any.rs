//! One of the machines that there are. Which one is decided once for each call by a match, so that nothing
//! above needs to be generic, and nothing is called through a pointer.

use super::{Aim, Counters, Dead, Exit, Host, Machine, MachineError, Start, Tables};
use crate::cpu::saved::Saved;
use crate::kvm;
use crate::memory::{Memory, OutOfMemory};
use crate::paging::Edit;
use crate::process;
use crate::registers::Registers;
use crate::report::Fault;
use std::io;

/// A machine of either kind. It may be moved to another thread while nobody runs it.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in each instance, and a call goes to it directly")]
pub(crate) enum AnyMachine {
    /// A VM of KVM.
    Kvm(kvm::Machine),
    /// A child.
    Process(process::Machine),
}

impl AnyMachine {
    /// Makes a machine of `memory`, which holds all that the guest needs, ready to start.
    ///
    /// # Errors
    /// When the host refuses one of the steps.
    pub(crate) fn new(host: &Host, memory: Memory, start: &Start) -> Result<AnyMachine, MachineError> {
        match host {
            Host::Kvm(host) => kvm::Machine::new(host, memory, start).map(AnyMachine::Kvm),
            Host::Process(host) => process::Machine::new(host, memory, start).map(AnyMachine::Process),
        }
    }

    /// Makes a machine of `memory`, a snapshot's, that goes on where that was saved.
    ///
    /// # Errors
    /// When the host refuses one of the steps.
    pub(crate) fn resume(
        host: &Host,
        memory: Memory,
        tables: &Tables,
        saved: &Saved,
    ) -> Result<AnyMachine, MachineError> {
        match host {
            Host::Kvm(host) => kvm::Machine::resume(host, memory, tables, saved).map(AnyMachine::Kvm),
            Host::Process(host) => {
                process::Machine::resume(host, memory, tables, saved).map(AnyMachine::Process)
            }
        }
    }
}

/// Hands a call to the machine that there is.
macro_rules! either {
    ($any:expr, $machine:ident => $call:expr) => {
        match $any {
            AnyMachine::Kvm($machine) => $call,
            AnyMachine::Process($machine) => $call,
        }
    };
}

impl Machine for AnyMachine {
    fn get_ready(&mut self) -> Result<(), MachineError> {
        either!(self, machine => machine.get_ready())
    }

    fn end(&mut self) {
        either!(self, machine => machine.end());
    }

    fn run(&mut self) -> Exit {
        either!(self, machine => machine.run())
    }

    fn call(&self) -> [u64; 5] {
        either!(self, machine => machine.call())
    }

    fn set_result(&mut self, result: i64) {
        either!(self, machine => machine.set_result(result));
    }

    fn registers(&self) -> Registers {
        either!(self, machine => machine.registers())
    }

    fn set_registers(&mut self, registers: &Registers) {
        either!(self, machine => machine.set_registers(registers));
    }

    fn fault(&mut self, vector: u8) -> Result<Fault, Dead> {
        either!(self, machine => machine.fault(vector))
    }

    fn change_tables(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        either!(self, machine => machine.change_tables(edits))
    }

    fn tables_are_changed(&self) -> Result<bool, OutOfMemory> {
        either!(self, machine => machine.tables_are_changed())
    }

    fn memory(&self) -> &Memory {
        either!(self, machine => machine.memory())
    }

    fn set_memory_end(&mut self, end: u64) -> io::Result<()> {
        either!(self, machine => machine.set_memory_end(end))
    }

    fn aim(&mut self) -> Aim {
        either!(self, machine => machine.aim())
    }

    fn stays_on_its_thread(&self) -> bool {
        either!(self, machine => machine.stays_on_its_thread())
    }

    fn lend_thread(&mut self) {
        either!(self, machine => machine.lend_thread());
    }

    fn save(&self) -> Result<Option<Saved>, MachineError> {
        either!(self, machine => machine.save())
    }

    fn save_start(&self) -> Saved {
        either!(self, machine => machine.save_start())
    }

    fn extended_state(&self) -> Result<Vec<u8>, MachineError> {
        either!(self, machine => machine.extended_state())
    }

    fn finish(&mut self) {
        either!(self, machine => machine.finish());
    }

    fn put_back(&mut self, saved: &Saved, edits: &[Edit]) -> Result<(), MachineError> {
        either!(self, machine => machine.put_back(saved, edits))
    }

    fn dirty_pages(&mut self, bits: &mut [u64]) -> io::Result<()> {
        either!(self, machine => machine.dirty_pages(bits))
    }

    fn watch_again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        either!(self, machine => machine.watch_again(first_word, bits))
    }

    fn tsc_khz(&self) -> Option<u32> {
        either!(self, machine => machine.tsc_khz())
    }

    fn counters(&self) -> io::Result<Counters> {
        either!(self, machine => machine.counters())
    }
}
