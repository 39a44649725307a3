//! One child that runs one guest.

use super::child::{self, refused};
use super::space::{self, Run};
use super::tracee::{Stop, Tracee, UserRegisters, user_segments};
use super::{Host, fault};
use crate::cpu::saved::{Saved, Segments, general_registers};
use crate::cpu::{HYPERCALL_PORT, entry};
use crate::guest::Guest;
use crate::kvm::KvmStatistics;
use crate::machine::{self, Aim, Dead, Exit, MachineError, Start, Tables, Target};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::{Edit, EntryMemory, from_bits};
use crate::registers::Registers;
use crate::report::Fault;
use std::io;

/// A child that runs one guest. Only the thread that made it can run it.
#[derive(Debug)]
pub(crate) struct Machine {
    // The child is dropped before the memory that it maps.
    tracee: Tracee,
    /// The registers of the guest, which is stopped.
    registers: UserRegisters,
    /// Whether they are not yet the child's.
    set: bool,
    /// The exception with which the guest stopped.
    exception: Option<fault::Exception>,
    /// A kick came while the tender made a system call in the child.
    kicked: bool,
    tables: Tables,
    /// What the child has mapped.
    runs: Vec<Run>,
    memory: Memory,
}

impl Machine {
    /// Makes a child with `memory`, which holds all that the guest needs, ready to start.
    ///
    /// # Errors
    /// When the kernel refuses one of the steps.
    pub(crate) fn new(host: &Host, memory: Memory, start: &Start) -> Result<Machine, MachineError> {
        let registers = Registers { rip: start.entry, rsp: start.stack, ..Registers::default() };
        Machine::with(host, memory, &start.tables, &registers, &Segments::default())
    }

    /// Makes a child with `memory`, a snapshot's, that goes on where that was saved.
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
        let runs = space::of(&memory, tables.root).map_err(outside)?;
        let tracee = child::make(&memory, &runs, host.features.xcr0)?;
        Ok(Machine {
            tracee,
            registers: user_registers(registers, segments),
            set: true,
            exception: None,
            kicked: false,
            tables: *tables,
            runs,
            memory,
        })
    }

    /// Ends the child.
    pub(crate) fn end(&mut self) {
        self.tracee.end();
    }

    /// Why the child stopped, and its registers if the guest is not to go on at once.
    fn reason(&mut self, stop: Stop) -> io::Result<Option<Exit>> {
        if let Stop::Ended(status) = stop {
            return Ok(Some(Exit::Dead(Dead::Process(status))));
        }
        if let Stop::Signal(signal) = stop
            && !fault::is_of_the_cpu(signal)
        {
            return Ok(None);
        }
        self.registers = self.tracee.registers()?;
        match stop {
            Stop::Signal(libc::SIGSEGV) if self.registers.rip == self.tables.entry_page => {
                self.after(entry::RETURN);
                Ok(Some(Exit::Hypercall))
            }
            Stop::Signal(signal) => self.signal(signal),
            Stop::SystemCall => Ok(Some(self.system_call())),
            _ => Ok(Some(Exit::Kicked)),
        }
    }

    /// The guest goes on so many bytes later.
    fn after(&mut self, length: u64) {
        self.registers.rip = self.registers.rip.wrapping_add(length);
        self.set = true;
    }

    /// What a signal of the CPU means. Programs send them too: then they mean nothing.
    fn signal(&mut self, signal: i32) -> io::Result<Option<Exit>> {
        const ALIGNMENT_CHECK: u64 = 1 << 18;
        let (code, _) = self.tracee.signal()?;
        if code <= 0 {
            return Ok(None);
        }
        if signal == libc::SIGSEGV
            && let Some(length) = self.call_length()
        {
            self.after(length);
            return Ok(Some(Exit::Hypercall));
        }
        match (signal, code) {
            // Linux checks alignment where the flag says so, which a machine of the guest's own does not.
            (libc::SIGBUS, libc::BUS_ADRALN) if self.registers.eflags & ALIGNMENT_CHECK != 0 => {
                self.registers.eflags &= !ALIGNMENT_CHECK;
                self.set = true;
                Ok(None)
            }
            (libc::SIGBUS, libc::BUS_ADRERR) => Ok(Some(Exit::Dead(Dead::HostMemory))),
            _ => {
                let exception = fault::exception(&mut self.tracee, signal, &self.registers);
                self.exception = Some(exception);
                Ok(Some(Exit::Fault { vector: exception.vector }))
            }
        }
    }

    /// How long the instruction is that makes a hypercall elsewhere than in the entry page; `None` where it
    /// makes none.
    fn call_length(&self) -> Option<u64> {
        let mut bytes = [0; 2];
        if !Guest::new(&self.memory, self.tables.root).try_read(self.registers.rip, &mut bytes) {
            return None;
        }
        match bytes {
            [0xe7, HYPERCALL_PORT] => Some(2),
            [0xef, _] if self.registers.rdx as u16 == u16::from(HYPERCALL_PORT) => Some(1),
            _ => None,
        }
    }

    /// The guest was about to make a system call, which it does not: as under KVM its instruction faults.
    fn system_call(&mut self) -> Exit {
        /// Where old programs jump to for some system calls.
        const VSYSCALL: std::ops::Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;
        const INVALID_OPCODE: u8 = 6;
        const GENERAL_PROTECTION: u8 = 13;
        const PAGE_FAULT: u8 = 14;
        /// An instruction fetch at CPL 3.
        const FETCH: u64 = 0x14;
        /// All these instructions have two bytes.
        const LENGTH: u64 = 2;
        let registers = &mut self.registers;
        registers.rax = registers.orig_rax;
        let exception = |vector, error_code, address| fault::Exception { vector, error_code, address };
        let exception = if VSYSCALL.contains(&registers.rip) {
            exception(PAGE_FAULT, FETCH, registers.rip)
        } else {
            registers.rip = registers.rip.wrapping_sub(LENGTH);
            let mut bytes = [0; LENGTH as usize];
            let guest = Guest::new(&self.memory, self.tables.root);
            match guest.try_read(registers.rip, &mut bytes).then_some(bytes) {
                // Beyond the table of gates: its entry, of the IDT.
                Some([0xcd, vector]) => exception(GENERAL_PROTECTION, u64::from(vector) << 3 | 2, 0),
                _ => exception(INVALID_OPCODE, 0, 0),
            }
        };
        self.exception = Some(exception);
        Exit::Fault { vector: exception.vector }
    }

    fn go_on(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.set) {
            self.tracee.set_registers(&self.registers)?;
        }
        self.tracee.go_on()
    }

    /// Writes entries into the tables, and gives the child the rights that they now say.
    fn apply(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        for edit in edits {
            for (index, value) in (0..).zip(&edit.values) {
                (&mut &self.memory).set_entry(edit.entry + 8 * index, &from_bits(*value)).map_err(outside)?;
            }
        }
        let runs = space::of(&self.memory, self.tables.root).map_err(outside)?;
        for run in space::changed(&self.runs, &runs) {
            let arguments = [run.address, run.length, run.protection() as u64];
            let kicked = self.tracee.call(libc::SYS_mprotect, arguments);
            self.kicked |= kicked.map_err(refused("change rights of the guest's memory"))?;
            self.set = true;
        }
        self.runs = runs;
        Ok(())
    }
}

impl machine::Machine for Machine {
    fn run(&mut self) -> Exit {
        if std::mem::take(&mut self.kicked) {
            return Exit::Kicked;
        }
        loop {
            let exit = self.go_on().and_then(|()| self.tracee.wait()).and_then(|stop| self.reason(stop));
            match exit {
                Ok(None) => {}
                Ok(Some(exit)) => return exit,
                Err(error) => return Exit::Dead(Dead::Tracing(error.raw_os_error().unwrap_or_default())),
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
        let from = &self.registers;
        Registers {
            rax: from.rax,
            rbx: from.rbx,
            rcx: from.rcx,
            rdx: from.rdx,
            rsi: from.rsi,
            rdi: from.rdi,
            rsp: from.rsp,
            rbp: from.rbp,
            r8: from.r8,
            r9: from.r9,
            r10: from.r10,
            r11: from.r11,
            r12: from.r12,
            r13: from.r13,
            r14: from.r14,
            r15: from.r15,
            rip: from.rip,
            rflags: from.eflags,
        }
    }

    fn set_registers(&mut self, registers: &Registers) {
        let UserRegisters { fs_base, gs_base, ds, es, fs, gs, .. } = self.registers;
        let new = user_registers(registers, &Segments::default());
        self.registers = UserRegisters { fs_base, gs_base, ds, es, fs, gs, ..new };
        self.set = true;
    }

    fn fault(&mut self, _: u8) -> Result<Fault, Dead> {
        let fault::Exception { vector, error_code, address } =
            self.exception.ok_or(Dead::Tracing(libc::ESRCH))?;
        Ok(Fault { vector, error_code, address, registers: self.registers() })
    }

    fn change_tables(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        self.apply(edits)
    }

    fn tables_are_changed(&self) -> Result<bool, OutOfMemory> {
        Ok(true)
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn set_memory_end(&mut self, end: u64) -> io::Result<()> {
        if end == self.memory.end() { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn aim(&self) -> Aim {
        Target::of_process(self.tracee.process()).aim()
    }

    fn save(&self) -> Result<Option<Saved>, MachineError> {
        let from = &self.registers;
        let segments = Segments {
            selectors: [from.ds, from.es, from.fs, from.gs].map(|selector| selector as u16),
            fs_base: from.fs_base,
            gs_base: from.gs_base,
        };
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
        let state = self.tracee.extended_state();
        let mut state = state.map_err(refused("show the guest's extended state"))?;
        if let Some(own) = state.get_mut(OWN) {
            own.fill(0);
        }
        Ok(state)
    }

    fn finish(&mut self) {}

    fn put_back(&mut self, saved: &Saved, edits: &[Edit]) -> Result<(), MachineError> {
        self.apply(edits)?;
        let registers = Registers { rip: self.tables.entry_page + entry::RESUME, ..saved.registers };
        self.registers = user_registers(&registers, &saved.segments);
        self.set = true;
        self.exception = None;
        Ok(())
    }

    fn dirty_pages(&self, _: &mut [u64]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn watch_again(&self, _: usize, _: &[u64]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn tsc_khz(&self) -> Option<u32> {
        None
    }

    fn statistics(&self) -> io::Result<KvmStatistics> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Page tables outside of memory: a mistake of the tender's.
fn outside(error: OutOfMemory) -> MachineError {
    refused("map the guest's memory in its process")(io::Error::other(error))
}

/// Registers as ptrace(2) takes them. The flags for I/O, which no process has, are left out.
fn user_registers(registers: &Registers, segments: &Segments) -> UserRegisters {
    const IO_PRIVILEGE: u64 = 3 << 12;
    let flags = general_registers(registers).rflags & !IO_PRIVILEGE;
    let [ds, es, fs, gs] = segments.selectors.map(u64::from);
    // SAFETY: all fields are numbers, of which zero is one.
    let nothing: UserRegisters = unsafe { std::mem::zeroed() };
    UserRegisters {
        rax: registers.rax,
        rbx: registers.rbx,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rsi: registers.rsi,
        rdi: registers.rdi,
        rsp: registers.rsp,
        rbp: registers.rbp,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        rip: registers.rip,
        eflags: flags,
        fs_base: segments.fs_base,
        gs_base: segments.gs_base,
        ds,
        es,
        fs,
        gs,
        ..user_segments(nothing)
    }
}
