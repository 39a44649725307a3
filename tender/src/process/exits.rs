//! From a stop of the child to what the guest has come out for.

use super::machine::Machine;
use super::tracee::Stop;
use super::{cpuid, fault, place, ports};
use crate::cpu::descriptors::USER_CODE;
use crate::cpu::entry;
use crate::guest::Guest;
use crate::machine::{Dead, Exit};
use crate::paging::walk;
use coracle_hypercall::memory::LARGE_PAGE;
use std::io;
use std::sync::atomic::Ordering;
use x86_64::structures::idt::{ExceptionVector, PageFaultErrorCode};

const INVALID_OPCODE: u8 = ExceptionVector::InvalidOpcode as u8;
const GENERAL_PROTECTION: u8 = ExceptionVector::GeneralProtection as u8;
const PAGE_FAULT: u8 = ExceptionVector::Page as u8;

/// An instruction fetch at CPL 3.
const FETCH: u64 = PageFaultErrorCode::USER_MODE.union(PageFaultErrorCode::INSTRUCTION_FETCH).bits();
/// Where old programs jump to for some system calls.
const VSYSCALL: std::ops::Range<u64> = 0xffff_ffff_ff60_0000..0xffff_ffff_ff60_1000;

impl Machine {
    /// Why the child stopped, and its registers if the guest is not to go on at once.
    pub(super) fn reason(&mut self, stop: Stop) -> io::Result<Option<Exit>> {
        match stop {
            Stop::Ended(status) => return Ok(Some(Exit::Dead(Dead::Process(status)))),
            Stop::Signal(signal) if !fault::is_of_the_cpu(signal) => return Ok(None),
            _ => {}
        }
        self.registers = self.tracee()?.registers()?;
        match stop {
            // A guest has no 32-bit code. It gets there by far jumps and by `sysenter`, after which Linux
            // says no more of where it was.
            Stop::Signal(_) | Stop::SystemCall | Stop::SystemCallDone
                if self.registers.cs != u64::from(USER_CODE) =>
            {
                if let Stop::Signal(signal) = stop
                    && self.tracee()?.of_the_cpu(signal)?.is_none()
                {
                    return Ok(None);
                }
                self.exception =
                    Some(fault::Exception { vector: GENERAL_PROTECTION, error_code: 0, address: 0 });
                Ok(Some(Exit::Fault { vector: GENERAL_PROTECTION }))
            }
            // Were it sent, the guest would be about to make the call all the same.
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
        let Some((code, address)) = self.tracee()?.of_the_cpu(signal)? else { return Ok(None) };
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
                // Nothing more than need be is to interrupt what follows.
                place::let_go();
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
        if self.reserve.is_empty() {
            return Ok(false);
        }
        let found = walk(&&self.memory, self.tables.root, address).ok().flatten();
        let Some(physical) = found.filter(|found| found.user).map(|found| found.physical) else {
            return Ok(false);
        };
        let Some(piece) = self.reserve.open(physical) else { return Ok(false) };
        let end = self.memory.end();
        let within = piece.start..piece.end.min(end - end % LARGE_PAGE);
        if let Err(error) = self.memory.back_huge_in_file(&within)
            && error.kind() == io::ErrorKind::InvalidInput
        {
            self.reserve.open_all();
        }
        self.map_again().map_err(|error| error.source)?;
        self.set = true;
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
}
