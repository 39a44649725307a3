//! One child that runs one guest.

use super::child::{self, refused};
use super::reserve::Reserve;
use super::space::{self, Run};
use super::tracee::{Stop, Tracee, UserRegisters, user_segments};
use super::watch::{self, Written};
use super::{Host, cpuid, fault, ports, trapping};
use crate::cpu::cpuid::Features;
use crate::cpu::descriptors::USER_CODE;
use crate::cpu::entry;
use crate::cpu::saved::{Saved, Segments, general_registers};
use crate::guest::Guest;
use crate::machine::{self, Aim, Counters, Dead, Exit, MachineError, Start, Tables, Target};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::{Edit, EntryMemory, from_bits, walk};
use crate::registers::Registers;
use crate::report::Fault;
use coracle_hypercall::memory::LARGE_PAGE;
use kvm_bindings::CpuId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::ThreadId;
use x86_64::registers::rflags::RFlags;
use x86_64::structures::idt::{ExceptionVector, PageFaultErrorCode};

const INVALID_OPCODE: u8 = ExceptionVector::InvalidOpcode as u8;
const GENERAL_PROTECTION: u8 = ExceptionVector::GeneralProtection as u8;
const PAGE_FAULT: u8 = ExceptionVector::Page as u8;

/// That the page was mapped.
const PRESENT: u64 = PageFaultErrorCode::PROTECTION_VIOLATION.bits();
/// An instruction fetch at CPL 3.
const FETCH: u64 = PageFaultErrorCode::USER_MODE.union(PageFaultErrorCode::INSTRUCTION_FETCH).bits();
/// Where old programs jump to for some system calls.
const VSYSCALL: std::ops::Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;

/// A child that runs one guest. Only the thread that made it can run it.
#[derive(Debug)]
pub(crate) struct Machine {
    // The child is dropped before the memory that it maps.
    /// The child, once the thread that runs the guest has made it.
    child: Option<Child>,
    /// Why it could not be made.
    failed: Option<Dead>,
    features: Features,
    cpuid: Arc<CpuId>,
    /// The registers of the guest, which is stopped.
    registers: UserRegisters,
    /// Whether they are not yet the child's.
    set: bool,
    /// The exception with which the guest stopped.
    exception: Option<fault::Exception>,
    /// Whether a kick has come that was not seen yet: a stop for another reason takes its stop away.
    kicked: Box<AtomicU8>,
    tables: Tables,
    /// What the child has mapped.
    runs: Vec<Run>,
    reserve: Reserve,
    memory: Memory,
}

/// A child and the thread that traces it.
#[derive(Debug)]
struct Child {
    tracee: Tracee,
    thread: ThreadId,
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
            registers: user_registers(registers, segments),
            set: true,
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
            self.child = Some(Child { tracee, thread: std::thread::current().id(), written: Written::All });
            self.set = true;
        }
        Ok(())
    }

    /// The child, if it is this thread's.
    fn own_child(&mut self) -> Option<&mut Child> {
        self.child.as_mut().filter(|child| child.thread == std::thread::current().id())
    }

    fn tracee(&mut self) -> io::Result<&mut Tracee> {
        self.child.as_mut().map(|child| &mut child.tracee).ok_or_else(no_child)
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
        self.registers = self.tracee()?.registers()?;
        match stop {
            // A guest has no 32-bit code. It gets there by far jumps and by `sysenter`, after which Linux
            // says no more of where it was.
            Stop::Signal(_) | Stop::SystemCall | Stop::SystemCallDone
                if self.registers.cs != u64::from(USER_CODE) =>
            {
                self.exception =
                    Some(fault::Exception { vector: GENERAL_PROTECTION, error_code: 0, address: 0 });
                Ok(Some(Exit::Fault { vector: GENERAL_PROTECTION }))
            }
            Stop::Signal(libc::SIGSEGV) if self.registers.rip == self.tables.entry_page => {
                self.after(entry::RETURN);
                Ok(Some(Exit::Hypercall))
            }
            Stop::Signal(signal) => self.signal(signal),
            Stop::SystemCall | Stop::SystemCallDone => Ok(Some(self.system_call())),
            // What its last instruction has led to comes first: registers may be changed after a kick.
            _ if self.tracee()?.has_fault()? => {
                self.kicked.store(1, Ordering::Relaxed);
                Ok(None)
            }
            _ => {
                self.kicked.store(0, Ordering::Relaxed);
                Ok(Some(Exit::Kicked))
            }
        }
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
                _ => Dead::Tracing(libc::ESRCH),
            },
            (number, _) => Dead::Tracing(number.unwrap_or_default()),
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
        /// The page is there, and its rights forbid it.
        const SEGV_ACCERR: i32 = 2;
        let (code, address) = self.tracee()?.signal()?;
        if code <= 0 {
            return Ok(None);
        }
        if signal == libc::SIGSEGV && VSYSCALL.contains(&self.registers.rip) {
            return Ok(Some(self.system_call()));
        }
        if (signal, code) == (libc::SIGSEGV, fault::SI_KERNEL) && self.answer_cpuid() {
            return Ok(None);
        }
        if (signal, code) == (libc::SIGSEGV, fault::SI_KERNEL)
            && let Some(port) = self.port()
        {
            if port.exit == Exit::Hypercall {
                self.after(port.length);
            }
            return Ok(Some(port.exit));
        }
        if signal == libc::SIGSEGV && code == SEGV_ACCERR && self.is_beyond_end(address) {
            return Ok(Some(Exit::Dead(Dead::HostMemory)));
        }
        if signal == libc::SIGSEGV && code == SEGV_ACCERR && self.open(address)? {
            return Ok(None);
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
                let registers = self.registers;
                let exception = fault::exception(self.tracee()?, signal, &registers);
                self.exception = Some(exception);
                Ok(Some(Exit::Fault { vector: exception.vector }))
            }
        }
    }

    /// Whether the guest may use an address whose memory it is kept from for now.
    fn is_beyond_end(&self, address: u64) -> bool {
        let found = walk(&&self.memory, self.tables.root, address).ok().flatten();
        found.is_some_and(|found| found.user && found.physical >= self.memory.end())
    }

    /// Gives the guest a piece of what it is kept from, if that is what it has reached for.
    fn open(&mut self, address: u64) -> io::Result<bool> {
        /// MADV_COLLAPSE.
        const COLLAPSE: u64 = 25;
        if self.reserve.is_empty() {
            return Ok(false);
        }
        let found = walk(&&self.memory, self.tables.root, address).ok().flatten();
        let Some(physical) = found.filter(|found| found.user).map(|found| found.physical) else {
            return Ok(false);
        };
        let Some(piece) = self.reserve.open(physical) else { return Ok(false) };
        // The kernel makes a huge page of one that has something already.
        for at in piece.clone().step_by(LARGE_PAGE as usize).filter(|at| *at < self.memory.end()) {
            self.memory.back_in_file(at)?;
        }
        self.map_again().map_err(|error| error.source)?;
        self.set = true;
        let arguments = [address - (physical - piece.start), piece.end - piece.start, COLLAPSE];
        match self.tracee()?.call(libc::SYS_madvise, arguments) {
            // This kernel has none, so that there is nothing to notice.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.reserve.open_all();
                self.map_again().map_err(|error| error.source)?;
            }
            // Where there is none just now, small ones do.
            _ => {}
        }
        Ok(true)
    }

    /// The first bytes that the guest has where it stopped, at most `MOST`, and how many there are.
    fn code<const MOST: usize>(&self) -> Option<([u8; MOST], usize)> {
        let mut bytes = [0; MOST];
        let guest = Guest::new(&self.memory, self.tables.root);
        let mut read = |length: usize| {
            bytes.get_mut(..length).is_some_and(|part| guest.try_read(self.registers.rip, part))
        };
        // The last instruction before what cannot be read may be shorter.
        let length = (1..=MOST).rev().find(|length| read(*length))?;
        Some((bytes, length))
    }

    /// Answers the guest's `cpuid`, if that is what it has stopped at.
    fn answer_cpuid(&mut self) -> bool {
        let code = self.code::<{ cpuid::LONGEST }>();
        let Some(length) = code.as_ref().and_then(|(bytes, length)| cpuid::length(bytes.get(..*length)?))
        else {
            return false;
        };
        let registers = &mut self.registers;
        let values = cpuid::answer(&self.cpuid, registers.rax as u32, registers.rcx as u32);
        [registers.rax, registers.rbx, registers.rcx, registers.rdx] = values.map(u64::from);
        self.after(length);
        true
    }

    /// What the instruction does that the guest has stopped at, where it uses one of the ports that a VM of KVM
    /// would let through.
    fn port(&self) -> Option<ports::Use> {
        let (bytes, length) = self.code::<3>()?;
        ports::used(bytes.get(..length)?, self.registers.rdx as u16)
    }

    /// The guest was about to make a system call, which it does not: as under KVM its instruction faults.
    fn system_call(&mut self) -> Exit {
        /// All these instructions have two bytes.
        const LENGTH: u64 = 2;
        let registers = &mut self.registers;
        if registers.orig_rax != u64::MAX {
            registers.rax = registers.orig_rax;
        }
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
        let (set, registers) = (std::mem::take(&mut self.set), self.registers);
        let tracee = self.tracee()?;
        if set {
            tracee.set_registers(&registers)?;
        }
        tracee.run_guest()
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
    fn map_again(&mut self) -> Result<(), MachineError> {
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
            let stop = self.go_on().and_then(|()| self.tracee()?.wait());
            let exit = stop.and_then(|stop| self.reason(stop));
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
        self.failed = None;
        if let Err(error) = self.make_child() {
            let reason = error.source.raw_os_error().unwrap_or_default();
            self.failed = Some(Dead::NoProcess(error.doing, reason));
        }
        let child = self.child.as_ref().map_or(0, |child| child.tracee.process());
        Target::of_process(child, self.kicked.as_ptr()).aim()
    }

    fn stays_on_its_thread(&self) -> bool {
        true
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
        self.registers = user_registers(&registers, &saved.segments);
        self.set = true;
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

/// Registers as ptrace(2) takes them. The flags for I/O, which no process has, are left out.
fn user_registers(registers: &Registers, segments: &Segments) -> UserRegisters {
    const IO_PRIVILEGE: u64 = 3 << 12;
    let flags = general_registers(registers).rflags & !(IO_PRIVILEGE | RFlags::ID.bits());
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
