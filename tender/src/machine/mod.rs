//! A machine for a guest: what runs it, whatever that is.
//!
//! Image, memory layout, hypercalls, timeouts, crash reports and statistics are above this boundary and know
//! nothing of what is below: [`kvm`](crate::kvm), [`process`](crate::process).
//!
//! A guest's page tables describe its address space in all of them. They are built, walked and edited in
//! guest-physical memory; a machine is told when entries are to change.
//!
//! | file | what it does |
//! |---|---|
//! | `any` | one of the machines that there are |
//! | `chosen` | the option that says which |
//! | `host` | what a process needs once |
//! | `exit` | why a machine came back |
//! | `kick` | how it is made to come back |
//! | `signals` | a time without signals for a thread |

mod any;
#[cfg(feature = "command")]
mod chosen;
mod exit;
mod host;
mod kick;
mod signals;

pub(crate) use any::AnyMachine;
#[cfg(feature = "command")]
pub use chosen::Chosen;
pub use exit::Dead;
pub(crate) use exit::{Exit, ended};
pub use host::{Backend, Host, HostError, NoBackend};
pub(crate) use kick::{Aim, Target};
pub use kick::{Kicker, Reachable, kick_signal};
pub(crate) use signals::Undisturbed;

use crate::cpu::saved::Saved;
use crate::memory::{Memory, OutOfMemory};
use crate::paging::Edit;
use crate::registers::Registers;
use crate::report::Fault;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use std::collections::BTreeMap;
use std::io;

/// A guest that is run by one thread at a time. What is said of registers holds while it does not run.
pub(crate) trait Machine {
    /// Makes what only the thread that runs the guest can make, which else is made when it first does.
    ///
    /// # Errors
    /// When the host refuses.
    fn get_ready(&mut self) -> Result<(), MachineError>;

    /// Ends what else would outlive the tender by a moment. The guest does not run again.
    fn end(&mut self);

    /// Runs the guest until it comes back.
    fn run(&mut self) -> Exit;

    /// The number and the arguments of a hypercall.
    fn call(&self) -> [u64; 5];

    /// Lets the guest find `result` as its call's.
    fn set_result(&mut self, result: i64);

    /// The general registers as they were when the guest came back.
    fn registers(&self) -> Registers;

    /// Lets the guest go on with other registers, at whatever instruction it came back. Flags that a program
    /// has not to itself stay.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "a scheduler of programs within a guest will preempt them so")
    )]
    fn set_registers(&mut self, registers: &Registers);

    /// What there is to know of the fault that the guest came back with.
    ///
    /// # Errors
    /// When it is no fault of the guest's.
    fn fault(&mut self, vector: u8) -> Result<Fault, Dead>;

    /// Changes page-table entries before the guest's next instruction. A guest that waits in a call of its
    /// own returns from it then.
    ///
    /// # Errors
    /// When there is no memory for the list of entries, or the host refuses.
    fn change_tables(&mut self, edits: &[Edit]) -> Result<(), MachineError>;

    /// Whether all changes of tables have been made.
    ///
    /// # Errors
    /// When what was behind the guest's memory is gone.
    fn tables_are_changed(&self) -> Result<bool, OutOfMemory>;

    /// The guest's memory.
    fn memory(&self) -> &Memory;

    /// Makes the guest's memory from `end` on inaccessible, as [`Memory::set_end`] says.
    ///
    /// # Errors
    /// The host's.
    fn set_memory_end(&mut self, end: u64) -> io::Result<()>;

    /// Lets kicks of this thread reach this machine for as long as the answer lives, which the machine must
    /// outlive.
    fn aim(&mut self) -> Aim;

    /// Whether the thread that runs it first is the only one that can.
    fn stays_on_its_thread(&self) -> bool;

    /// The thread is about to run what is not the tender's, and which finds it as [`aim`](Self::aim) did: it may
    /// start threads that have what this one has.
    fn lend_thread(&mut self);

    /// The state of a guest that waits in a call: it goes on after that, with 0 as the call's result, and in
    /// registers that a call need not keep. `None` where the guest has given its segment registers values
    /// that are not kept.
    ///
    /// # Errors
    /// When the host does not tell.
    fn save(&self) -> Result<Option<Saved>, MachineError>;

    /// The state of a guest that has not run yet.
    fn save_start(&self) -> Saved;

    /// The extended state, as `xsave` stores it in its standard form.
    ///
    /// # Errors
    /// When the host does not tell.
    fn extended_state(&self) -> Result<Vec<u8>, MachineError>;

    /// Does what is left of the last exit, in the state that the guest had then. That may write to memory.
    fn finish(&mut self);

    /// Gives the guest a saved state, to go on from when these page-table entries are changed.
    ///
    /// # Errors
    /// As for [`change_tables`](Self::change_tables).
    fn put_back(&mut self, saved: &Saved, edits: &[Edit]) -> Result<(), MachineError>;

    /// Fills in which pages the guest has written since they were watched: a bit for each.
    ///
    /// # Errors
    /// The host's.
    fn dirty_pages(&mut self, bits: &mut [u64]) -> io::Result<()>;

    /// Notices anew when these pages are written: bits from the page `64 × first_word` on.
    ///
    /// # Errors
    /// The host's.
    fn watch_again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()>;

    /// The rate of the guest's time stamp counter in kHz, where it is known.
    fn tsc_khz(&self) -> Option<u32>;

    /// What the host counted for this machine by itself.
    ///
    /// # Errors
    /// When it does not count.
    fn counters(&self) -> io::Result<Counters>;
}

/// What the host counts by itself: by what it belongs to, then by name.
pub type Counters = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// The most memory, in bytes, that any machine has, so that what runs in one runs in all: as much as KVM has in
/// one slot (KVM_MEM_MAX_NR_PAGES of Linux), in whole large pages.
pub(crate) const MOST_MEMORY: u64 = ((1 << 31) - 1) * PAGE / LARGE_PAGE * LARGE_PAGE;

/// Why a machine could not be made, or not be asked for something.
#[derive(Debug, thiserror::Error)]
#[error("{who} refused to {doing}: {source}")]
pub struct MachineError {
    /// Whose refusal it is.
    pub who: &'static str,
    /// What was asked for.
    pub doing: &'static str,
    /// The reason.
    pub source: io::Error,
}

/// Where the guest starts.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The guest-virtual address of the first instruction.
    pub entry: u64,
    /// The guest-virtual address that the stack pointer starts with.
    pub stack: u64,
    /// The page tables.
    pub tables: Tables,
}

/// What a machine finds in the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// The guest-physical address of the PML4.
    pub root: u64,
    /// The guest-virtual address of the system place.
    pub system: u64,
    /// The guest-virtual address of the entry page.
    pub entry_page: u64,
}
