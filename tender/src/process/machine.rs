//! One child that runs one guest.

use super::child::{self, refused};
use super::place::{self, Place};
use super::registers::{self, UserRegisters};
use super::reserve::Reserve;
use super::space::{self, Run};
use super::tracee::{Stop, Tracee};
use super::watch::{self, Written};
use super::{Host, fault, trapping};
use crate::cpu::cpuid::Features;
use crate::cpu::entry;
use crate::cpu::saved::{Saved, Segments};
use crate::machine::{self, Aim, Counters, Dead, Exit, MachineError, Start, Tables, Target};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::{Edit, EntryMemory, from_bits, walk};
use crate::registers::Registers;
use crate::report::Fault;
use kvm_bindings::CpuId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::ThreadId;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::idt::{ExceptionVector, PageFaultErrorCode};

const PAGE_FAULT: u8 = ExceptionVector::Page as u8;

/// That the page was mapped.
const PRESENT: u64 = PageFaultErrorCode::PROTECTION_VIOLATION.bits();

/// A child that runs one guest. Only the thread that made it can run it.
#[derive(Debug)]
pub(crate) struct Machine {
    // The child is dropped before the memory that it maps.
    /// The child, once the thread that runs the guest has made it.
    child: Option<Child>,
    /// Why it could not be made.
    failed: Option<Dead>,
    features: Features,
    pub(super) cpuid: Arc<CpuId>,
    /// The registers of the guest, which is stopped.
    pub(super) registers: UserRegisters,
    /// Whether they are not yet the child's.
    pub(super) set: bool,
    /// Whether its data segments are not either. Those of the guest's own choice ptrace(2) does not take.
    segments_set: bool,
    /// The exception with which the guest stopped.
    pub(super) exception: Option<fault::Exception>,
    /// Whether a kick has come that was not seen yet: a stop for another reason takes its stop away.
    pub(super) kicked: Box<AtomicU8>,
    pub(super) tables: Tables,
    /// What the child has mapped.
    runs: Vec<Run>,
    pub(super) reserve: Reserve,
    pub(super) memory: Memory,
}

/// A child and the thread that traces it.
#[derive(Debug)]
struct Child {
    tracee: Tracee,
    thread: ThreadId,
    place: Place,
    written: Written,
}

impl Machine {
    /// The descriptors that it takes: its memory's file, and two by which the child's pages are watched.
    pub(crate) const DESCRIPTORS: u64 = 3;

    /// Makes a child with `memory`, which holds all that the guest needs, ready to start.
    ///
    /// # Errors
    /// When the kernel refuses one of the steps.
    pub(crate) fn new(host: &Host, memory: Memory, start: &Start) -> Result<Machine, MachineError> {
        let registers = Registers { rip: start.entry, rsp: start.stack, ..Registers::default() };
        let mut machine = Machine::with(host, memory, &start.tables, &registers, &Segments::default())?;
        machine.make_child()?;
        Ok(machine)
    }

    /// A machine with `memory`, a snapshot's, that goes on where that was saved. Its child is made by the thread
    /// that first runs it.
    ///
    /// # Errors
    /// When the kernel refuses one of the steps.
    pub(crate) fn resume(
        host: &Host,
        memory: Memory,
        tables: &Tables,
        saved: &Saved,
    ) -> Result<Machine, MachineError> {
        let registers = Registers { rip: tables.entry_page + entry::RESUME, ..saved.registers };
        Machine::with(host, memory, tables, &registers, &saved.segments)
    }

    fn with(
        host: &Host,
        memory: Memory,
        tables: &Tables,
        registers: &Registers,
        segments: &Segments,
    ) -> Result<Machine, MachineError> {
        let reserve = Reserve::of(&memory.huge());
        let runs = reserve.keep(space::of(&memory, tables.root).map_err(outside)?);
        Ok(Machine {
            child: None,
            failed: None,
            features: host.features,
            cpuid: Arc::clone(&host.cpuid),
            registers: registers::from_guest(registers, segments),
            set: true,
            segments_set: true,
            exception: None,
            kicked: Box::default(),
            tables: *tables,
            runs,
            reserve,
            memory,
        })
    }

    /// Makes the child, where this thread has none: the memory stays.
    fn make_child(&mut self) -> Result<(), MachineError> {
        if self.own_child().is_none() {
            // The other one is gone before.
            self.child = None;
            trapping::in_this_thread();
            let tracee = child::make(&self.memory, &self.runs, self.features.xcr0)?;
            let place = Place::of(tracee.process());
            let thread = std::thread::current().id();
            self.child = Some(Child { tracee, thread, place, written: Written::All });
            (self.set, self.segments_set) = (true, true);
        }
        Ok(())
    }

    /// The child, if it is this thread's.
    fn own_child(&mut self) -> Option<&mut Child> {
        self.child.as_mut().filter(|child| child.thread == std::thread::current().id())
    }

    pub(super) fn tracee(&mut self) -> io::Result<&mut Tracee> {
        self.child.as_mut().map(|child| &mut child.tracee).ok_or_else(no_child)
    }

    /// Whether a kick was put off, or taken for another stop, before the one with which the guest could go on.
    fn late_kick(&mut self) -> io::Result<Option<Exit>> {
        if self.kicked.load(Ordering::Relaxed) == 0 || self.tracee()?.has_fault()? {
            return Ok(None);
        }
        self.kicked.store(0, Ordering::Relaxed);
        if !self.set {
            self.registers = self.tracee()?.registers()?;
        }
        Ok(Some(Exit::Kicked))
    }

    /// Why a request was refused: most likely the child was killed while it was stopped.
    fn lost(&mut self, error: &io::Error) -> Dead {
        match (error.raw_os_error(), self.child.as_mut()) {
            (Some(libc::ESRCH), Some(child)) => match child.tracee.wait() {
                Ok(Stop::Ended(status)) => Dead::Process(status),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Dead::Reaped,
                _ => Dead::Tracing(libc::ESRCH),
            },
            (Some(libc::ECHILD), _) => Dead::Reaped,
            (number, _) => Dead::Tracing(number.unwrap_or_default()),
        }
    }

    /// Lets the guest go on until the child stops.
    fn turn(&mut self) -> io::Result<Stop> {
        let (set, all) = (std::mem::take(&mut self.set), std::mem::take(&mut self.segments_set));
        let registers = self.registers;
        let Child { tracee, place, .. } = self.child.as_mut().ok_or_else(no_child)?;
        if all {
            tracee.set_all_registers(&registers)?;
        } else if set {
            tracee.set_registers(&registers)?;
        }
        place.begin();
        tracee.run_guest()?;
        let stop = tracee.wait()?;
        match stop {
            Stop::Interrupted => place::let_go(),
            _ => place.end(),
        }
        Ok(stop)
    }

    /// Writes entries into the tables, and gives the child the rights that they now say.
    fn apply(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        for edit in edits {
            for (index, value) in (0..).zip(&edit.values) {
                (&mut &self.memory).set_entry(edit.entry + 8 * index, &from_bits(*value)).map_err(outside)?;
            }
        }
        self.map_again()
    }

    /// Gives the child the rights that the tables say, as far as there is memory now.
    pub(super) fn map_again(&mut self) -> Result<(), MachineError> {
        let runs = self.reserve.keep(space::of(&self.memory, self.tables.root).map_err(outside)?);
        let changes = space::changed(&self.runs, &runs);
        if changes.is_empty() {
            self.runs = runs;
            return Ok(());
        }
        if self.own_child().is_none() {
            self.child = None;
        }
        if let Some(Child { tracee, .. }) = &mut self.child {
            for run in changes {
                let arguments = [run.address, run.length, run.protection() as u64];
                let done = tracee.call(libc::SYS_mprotect, arguments);
                done.map_err(refused("change rights of the guest's memory"))?;
                self.set = true;
            }
        }
        self.runs = runs;
        Ok(())
    }
}

impl machine::Machine for Machine {
    fn get_ready(&mut self) -> Result<(), MachineError> {
        self.make_child()
    }

    fn end(&mut self) {
        self.child = None;
    }

    fn run(&mut self) -> Exit {
        if let Some(dead) = self.failed {
            return Exit::Dead(dead);
        }
        if self.kicked.swap(0, Ordering::Relaxed) != 0 {
            return Exit::Kicked;
        }
        loop {
            let exit = self.turn().and_then(|stop| self.reason(stop));
            let exit = exit.and_then(|exit| if exit.is_some() { Ok(exit) } else { self.late_kick() });
            match exit {
                Ok(None) => {}
                Ok(Some(exit)) => return exit,
                Err(error) => return Exit::Dead(self.lost(&error)),
            }
        }
    }

    fn call(&self) -> [u64; 5] {
        let UserRegisters { rdi, rsi, rdx, rcx, r8, .. } = self.registers;
        [rdi, rsi, rdx, rcx, r8]
    }

    fn set_result(&mut self, result: i64) {
        self.registers.rax = result as u64;
        self.set = true;
    }

    fn registers(&self) -> Registers {
        registers::to_guest(&self.registers)
    }

    fn set_registers(&mut self, registers: &Registers) {
        let UserRegisters { fs_base, gs_base, ds, es, fs, gs, .. } = self.registers;
        let new = registers::from_guest(registers, &Segments::default());
        self.registers = UserRegisters { fs_base, gs_base, ds, es, fs, gs, ..new };
        self.set = true;
    }

    fn fault(&mut self, _: u8) -> Result<Fault, Dead> {
        let fault::Exception { vector, error_code, address } =
            self.exception.ok_or(Dead::Tracing(libc::ESRCH))?;
        // The child's own tables are filled when they are needed: what is there, the guest's tables say.
        let mapped = || matches!(walk(&&self.memory, self.tables.root, address), Ok(Some(_)));
        let error_code = match vector {
            PAGE_FAULT => error_code & !PRESENT | u64::from(mapped()),
            _ => error_code,
        };
        Ok(Fault { vector, error_code, address, registers: self.registers() })
    }

    /// The registers that the stub of a VM clears are cleared here too, so that guests find the same.
    fn change_tables(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        self.apply(edits)?;
        self.registers = UserRegisters { rcx: 0, rdx: 0, rsi: 0, rdi: 0, ..self.registers };
        self.set = true;
        Ok(())
    }

    fn tables_are_changed(&self) -> Result<bool, OutOfMemory> {
        Ok(true)
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn set_memory_end(&mut self, end: u64) -> io::Result<()> {
        self.memory.set_end(end)?;
        self.map_again().map_err(|error| error.source)
    }

    fn aim(&mut self) -> Aim {
        // A child that is made here may run where this thread may.
        place::let_go();
        self.failed = None;
        if let Err(error) = self.make_child() {
            let reason = error.source.raw_os_error().unwrap_or_default();
            self.failed = Some(Dead::NoProcess(error.doing, reason));
        }
        let child = self.child.as_ref().map_or(0, |child| child.tracee.process());
        Target::of_process(child, self.kicked.as_ptr()).aim(place::let_go)
    }

    fn stays_on_its_thread(&self) -> bool {
        true
    }

    fn lend_thread(&mut self) {
        place::let_go();
    }

    fn save(&self) -> Result<Option<Saved>, MachineError> {
        let segments = registers::segments(&self.registers);
        let rip = self.tables.entry_page + entry::RETURN;
        let registers =
            Registers { rip, rax: 0, rcx: 0, rdx: 0, rsi: 0, rdi: 0, ..machine::Machine::registers(self) };
        Ok(segments.is_sound().then_some(Saved { registers, segments }))
    }

    fn save_start(&self) -> Saved {
        Saved { registers: machine::Machine::registers(self), segments: Segments::default() }
    }

    fn extended_state(&self) -> Result<Vec<u8>, MachineError> {
        /// What Linux keeps there for itself (struct _fpx_sw_bytes).
        const OWN: std::ops::Range<usize> = 464..512;
        /// Which components there are besides the first two, in the state's header.
        const COMPONENTS: std::ops::Range<usize> = 512..520;
        /// The end of those that guests have (Intel SDM volume 1, section 13.4).
        const END: usize = 2688;
        let state = self.child.as_ref().ok_or_else(no_child).and_then(|child| child.tracee.extended_state());
        let mut state = state.map_err(refused("show the guest's extended state"))?;
        if let Some(own) = state.get_mut(OWN) {
            own.fill(0);
        }
        if let Some(components) = state.get_mut(COMPONENTS) {
            let own = self.features.xcr0.to_le_bytes();
            components.iter_mut().zip(own).for_each(|(byte, own)| *byte &= own);
        }
        state.truncate(END);
        Ok(state)
    }

    fn finish(&mut self) {}

    fn put_back(&mut self, saved: &Saved, edits: &[Edit]) -> Result<(), MachineError> {
        if !edits.is_empty() {
            self.apply(edits)?;
        }
        // The kernel lets no tracer change this flag (arch/x86/kernel/ptrace.c, FLAG_MASK): a new child has none.
        if self.registers.eflags & RFlags::ID.bits() != 0 {
            self.child = None;
        }
        self.kicked.store(0, Ordering::Relaxed);
        let registers = Registers { rip: self.tables.entry_page + entry::RESUME, ..saved.registers };
        self.registers = registers::from_guest(&registers, &saved.segments);
        (self.set, self.segments_set) = (true, true);
        self.exception = None;
        Ok(())
    }

    fn dirty_pages(&mut self, bits: &mut [u64]) -> io::Result<()> {
        let here = std::thread::current().id();
        let (memory, runs) = (&self.memory, &self.runs);
        match self.child.as_mut().filter(|child| child.thread == here) {
            Some(Child { tracee, written, .. }) => {
                // What it does in the child leaves other registers there.
                self.set = true;
                written.pages(tracee, runs, memory, bits)
            }
            None => watch::all_pages(memory, bits).map(drop),
        }
    }

    fn watch_again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        self.child.as_mut().map_or(Ok(()), |child| child.written.watch_again(first_word, bits))
    }

    fn tsc_khz(&self) -> Option<u32> {
        None
    }

    fn counters(&self) -> io::Result<Counters> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The guest was not run by any thread yet.
fn no_child() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

/// Page tables outside of memory: a mistake of the tender's.
fn outside(error: OutOfMemory) -> MachineError {
    refused("map the guest's memory in its process")(io::Error::other(error))
}
