//! One VM with one vCPU.

use super::dirty;
use super::exit::{Dead, Exit};
use super::kick::{Aim, Target};
use super::{Host, KvmStatistics, Undisturbed};
use crate::cpu::saved::{Saved, Segments, general_registers, system_registers};
use crate::cpu::{FAULT_PORT, HYPERCALL_PORT, entry, state, stub};
use crate::layout::STUB;
use crate::memory::Memory;
use crate::registers::Registers;
use coracle_hypercall::memory::PAGE;
use kvm_bindings::{
    KVM_MEM_LOG_DIRTY_PAGES, kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcr,
    kvm_xcrs,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd, VmFd};
use std::io;

/// The one slot of memory.
const SLOT: u32 = 0;

/// Why a VM could not be made.
#[derive(Debug, thiserror::Error)]
#[error("KVM refused to {doing}: {source}")]
pub struct MachineError {
    /// What was asked of it.
    pub doing: &'static str,
    /// Its reason.
    pub source: io::Error,
}

/// Names what was being done when KVM refused.
fn refused<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> MachineError {
    move |source| MachineError { doing, source: source.into() }
}

/// Asks again where a signal came in between: a thread that has run guests may be kicked once more when it
/// makes the next one.
fn again<T>(mut ask: impl FnMut() -> Result<T, kvm_ioctls::Error>) -> Result<T, kvm_ioctls::Error> {
    loop {
        match ask() {
            Err(error) if error.errno() == libc::EINTR => {}
            answer => return answer,
        }
    }
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

/// What the CPU finds its tables by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// The guest-physical address of the PML4.
    pub root: u64,
    /// The guest-virtual address of the system place.
    pub system: u64,
}

/// One VM with one vCPU. It may be moved to another thread while nobody runs it.
#[derive(Debug)]
pub struct Machine {
    // Fields are dropped in this order: what points into the vCPU, the vCPU, its VM, and then the
    // memory that they map.
    target: Target,
    vcpu: VcpuFd,
    vm: VmFd,
    stub: u64,
    /// Whether KVM may still have to do something for the last exit when the vCPU runs next: go on with
    /// an instruction that it emulates, or deliver an exception.
    unfinished: bool,
    memory: Memory,
}

impl Machine {
    /// Makes a VM of `memory`, which holds all that the guest needs, and a vCPU ready to start.
    ///
    /// # Errors
    /// When KVM refuses one of the steps.
    pub fn new(host: &Host, memory: Memory, start: &Start) -> Result<Machine, MachineError> {
        let mut machine = Machine::with_vcpu(host, memory, start.tables.system)?;
        let general = state::general_registers(start.entry, start.stack);
        let system = state::system_registers(start.tables.root, start.tables.system, &host.features);
        machine.set_registers(general, system);
        Ok(machine)
    }

    /// Makes a VM of `memory`, a snapshot's, and a vCPU that goes on where that was saved.
    ///
    /// # Errors
    /// When KVM refuses one of the steps.
    pub fn resume(
        host: &Host,
        memory: Memory,
        tables: &Tables,
        saved: &Saved,
        entry_page: u64,
    ) -> Result<Machine, MachineError> {
        let mut machine = Machine::with_vcpu(host, memory, tables.system)?;
        machine.put_back(host, tables, saved, entry_page + entry::RESUME);
        Ok(machine)
    }

    /// A VM whose vCPU has no registers yet.
    fn with_vcpu(host: &Host, memory: Memory, system: u64) -> Result<Machine, MachineError> {
        let vm = create_vm(host).map_err(refused("make a VM"))?;
        let logged = memory.written().is_some();
        if logged {
            dirty::log_manually(&vm).map_err(refused(
                "keep track of written memory (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, which Linux 5.2 and newer have)",
            ))?;
        }
        let slot = kvm_userspace_memory_region {
            slot: SLOT,
            flags: if logged { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
            guest_phys_addr: 0,
            memory_size: memory.size(),
            userspace_addr: memory.host_address(),
        };
        // SAFETY: the range is mapped, belongs to `memory` alone, and outlives the VM: see the order
        // of the fields.
        again(|| unsafe { vm.set_user_memory_region(slot) }).map_err(refused("give the VM its memory"))?;
        let mut vcpu = again(|| vm.create_vcpu(0)).map_err(refused("make a vCPU"))?;
        vcpu.set_cpuid2(&host.cpuid).map_err(refused("set the vCPU's CPUID"))?;
        if host.features.xcr0 != 0 {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
            if let Some(first) = xcrs.xcrs.first_mut() {
                *first = kvm_xcr { xcr: 0, reserved: 0, value: host.features.xcr0 };
            }
            vcpu.set_xcrs(&xcrs).map_err(refused("switch on the vCPU's extended state"))?;
        }
        vcpu.set_sync_valid_reg(SyncReg::Register);
        let target = Target::new(&raw mut vcpu.get_kvm_run().immediate_exit);
        Ok(Machine { target, vcpu, vm, stub: system + STUB, unfinished: false, memory })
    }

    /// The state of the vCPU, which waits in a call of the guest's: it goes on after that, with 0 as the
    /// call's result, and in registers that a call need not keep and that the stub clears. `None` where the guest has given its segment registers values that are not kept.
    ///
    /// # Errors
    /// When KVM does not tell.
    pub fn save(&self, entry_page: u64) -> Result<Option<Saved>, MachineError> {
        let Some(segments) = Segments::of(&self.system_registers()?) else { return Ok(None) };
        let before = self.registers();
        let registers =
            Registers { rip: entry_page + entry::RETURN, rax: 0, rcx: 0, rdx: 0, rsi: 0, rdi: 0, ..before };
        Ok(Some(Saved { registers, segments }))
    }

    /// The state of the vCPU of a guest that has not run yet.
    #[must_use]
    pub fn save_start(&self) -> Saved {
        Saved { registers: self.registers(), segments: Segments::default() }
    }

    /// The extended state of the vCPU, as `xsave` stores it in its standard form.
    ///
    /// # Errors
    /// When KVM does not tell.
    pub fn extended_state(&self) -> Result<Vec<u8>, MachineError> {
        let area = self.vcpu.get_xsave().map_err(refused("show the vCPU's extended state"))?;
        Ok(area.region.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// Gives the vCPU a saved state, to go on at `way_back` in the entry page.
    pub fn put_back(&mut self, host: &Host, tables: &Tables, saved: &Saved, way_back: u64) {
        let system = system_registers(tables.root, tables.system, &host.features, &saved.segments);
        let registers = Registers { rip: way_back, ..saved.registers };
        self.set_registers(general_registers(&registers), system);
    }

    /// Has KVM do what is left of the last exit, in the state that the vCPU had then, and forget
    /// exceptions that it would deliver. That may write to memory.
    pub(crate) fn finish(&mut self) {
        if !std::mem::take(&mut self.unfinished) {
            return;
        }
        // Documentation/virt/kvm/api.rst, `immediate_exit`: what is pending is completed, no guest code runs.
        self.vcpu.set_kvm_immediate_exit(1);
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
        self.vcpu.sync_regs_mut().events = kvm_vcpu_events::default();
        self.vcpu.set_sync_dirty_reg(SyncReg::VcpuEvents);
    }

    /// Has KVM take these over when the vCPU runs next.
    fn set_registers(&mut self, general: kvm_regs, system: kvm_sregs) {
        let shared = self.vcpu.sync_regs_mut();
        shared.sregs = system;
        shared.regs = general;
        self.vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// Fills in which pages the guest has written: a bit for each.
    ///
    /// # Errors
    /// KVM's.
    pub(crate) fn dirty_pages(&self, bits: &mut [u64]) -> io::Result<()> {
        dirty::pages(&self.vm, SLOT, bits)
    }

    /// Notices anew when these pages are written: bits from the page `64 × first_word` on.
    ///
    /// # Errors
    /// KVM's.
    pub(crate) fn watch_again(&self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        dirty::watch_again(&self.vm, SLOT, self.memory.size(), first_word, bits)
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes the guest's memory from `end` on inaccessible, as [`Memory::set_end`] says.
    pub(crate) fn set_memory_end(&mut self, end: u64) -> io::Result<()> {
        self.memory.set_end(end)
    }

    /// Lets kicks of this thread reach this machine's vCPU for as long as the answer lives, which the
    /// machine must outlive.
    #[must_use]
    pub(crate) fn aim(&self) -> Aim {
        self.target.aim()
    }

    /// Runs the guest until it comes back.
    pub fn run(&mut self) -> Exit {
        let found = self.vcpu.run();
        let exit = match found {
            Ok(VcpuExit::IoOut(port, data)) => port_exit(port, data.len(), true),
            Ok(VcpuExit::IoIn(port, data)) => port_exit(port, data.len(), false),
            Ok(VcpuExit::Intr) => Exit::Kicked,
            Ok(VcpuExit::Shutdown) => Exit::Dead(Dead::Shutdown),
            Ok(VcpuExit::FailEntry(reason, _)) => Exit::Dead(Dead::Refused(reason)),
            Ok(VcpuExit::MmioRead(address, _) | VcpuExit::MmioWrite(address, _)) => {
                Exit::Dead(Dead::NoMemory(address))
            }
            Ok(VcpuExit::InternalError) => {
                // SAFETY: the exit reason says that this member of the union is the valid one.
                let internal = unsafe { self.vcpu.get_kvm_run().__bindgen_anon_1.internal };
                Exit::Dead(Dead::Internal(internal.suberror))
            }
            Ok(_) => Exit::Dead(Dead::Unexpected(self.vcpu.get_kvm_run().exit_reason)),
            Err(error) => match error.errno() {
                libc::EINTR | libc::EAGAIN => Exit::Kicked,
                libc::EFAULT => Exit::Dead(Dead::HostMemory),
                errno => Exit::Dead(Dead::Run(errno)),
            },
        };
        if exit == Exit::Kicked {
            // Seen. What the kick is for is looked for after this.
            self.vcpu.set_kvm_immediate_exit(0);
        }
        let exit = match exit {
            Exit::Port { port, width: 1, write: true } if port == u16::from(FAULT_PORT) => {
                match self.stub_fault() {
                    Some(vector) => Exit::Fault { vector },
                    None => exit,
                }
            }
            other => other,
        };
        self.unfinished = !matches!(exit, Exit::Hypercall | Exit::Fault { .. });
        exit
    }

    /// The vector of the fault that the stub hands over, if it is the stub that is running.
    fn stub_fault(&self) -> Option<u8> {
        let offset = self.shared().rip.checked_sub(self.stub).filter(|offset| *offset < PAGE)?;
        stub::vector_at(offset)
    }

    fn shared(&self) -> kvm_regs {
        self.vcpu.sync_regs().regs
    }

    /// The number and the arguments of a hypercall.
    #[must_use]
    pub fn call(&self) -> [u64; 5] {
        let regs = self.shared();
        [regs.rdi, regs.rsi, regs.rdx, regs.rcx, regs.r8]
    }

    /// Lets the guest find `result` as its call's.
    pub fn set_result(&mut self, result: i64) {
        self.vcpu.sync_regs_mut().regs.rax = result as u64;
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// Lets the guest go on at another address.
    pub fn set_instruction_pointer(&mut self, address: u64) {
        self.vcpu.sync_regs_mut().regs.rip = address;
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// The general registers as they were when the vCPU came back.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let regs = self.shared();
        Registers {
            rax: regs.rax,
            rbx: regs.rbx,
            rcx: regs.rcx,
            rdx: regs.rdx,
            rsi: regs.rsi,
            rdi: regs.rdi,
            rsp: regs.rsp,
            rbp: regs.rbp,
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rip: regs.rip,
            rflags: regs.rflags,
        }
    }

    /// The system registers, CR2 among them.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn system_registers(&self) -> Result<kvm_sregs, MachineError> {
        self.vcpu.get_sregs().map_err(refused("show the vCPU's system registers"))
    }

    /// The rate of the guest's time stamp counter in kHz, where KVM knows it.
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u32> {
        self.vcpu.get_tsc_khz().ok().filter(|khz| *khz != 0)
    }

    /// What KVM counted for this machine by itself.
    ///
    /// # Errors
    /// When this kernel's KVM does not count (before Linux 5.14).
    pub fn statistics(&self) -> io::Result<KvmStatistics> {
        KvmStatistics::read(&self.vm, &self.vcpu)
    }
}

/// Makes a VM. KVM refuses while the thread has a signal to handle, of whatever kind: then the second attempt
/// has a time without signals.
fn create_vm(host: &Host) -> Result<VmFd, kvm_ioctls::Error> {
    match host.kvm.create_vm() {
        Err(error) if error.errno() == libc::EINTR => {
            let _mask = Undisturbed::new();
            host.kvm.create_vm()
        }
        result => result,
    }
}

/// What an access to a port means. A string instruction that repeats moves more than four bytes.
fn port_exit(port: u16, length: usize, write: bool) -> Exit {
    if port == u16::from(HYPERCALL_PORT) && write && length == 4 {
        return Exit::Hypercall;
    }
    Exit::Port { port, width: u8::try_from(length).unwrap_or(u8::MAX), write }
}
