//! One VM with one vCPU.

use super::dirty;
use super::{Host, counters};
use crate::cpu::cpuid::Features;
use crate::cpu::saved::{Saved, Segments, general_registers, system_registers};
use crate::cpu::{FAULT_PORT, HYPERCALL_PORT, entry, state, stub};
use crate::layout::{EDIT_LIST, FAULT_STACK_TOP, STUB};
use crate::machine::{self, Aim, Counters, Dead, Exit, MachineError, Start, Tables, Target, Undisturbed};
use crate::memory::{Memory, OutOfMemory};
use crate::paging::Edit;
use crate::registers::Registers;
use crate::report::Fault;
use coracle_hypercall::memory::PAGE;
use kvm_bindings::{
    KVM_MEM_LOG_DIRTY_PAGES, kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcr,
    kvm_xcrs,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd, VmFd};
use std::io;

/// The one slot of memory.
const SLOT: u32 = 0;

/// Names what was being done when KVM refused.
fn refused<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> MachineError {
    move |source| MachineError { who: "KVM", doing, source: source.into() }
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

/// One VM with one vCPU. It may be moved to another thread while nobody runs it.
#[derive(Debug)]
pub(crate) struct Machine {
    // Fields are dropped in this order: what points into the vCPU, the vCPU, its VM, and then the
    // memory that they map.
    target: Target,
    vcpu: VcpuFd,
    vm: VmFd,
    tables: Tables,
    features: Features,
    /// Whether KVM may still have to do something for the last exit when the vCPU runs next: go on with
    /// an instruction that it emulates, or deliver an exception.
    unfinished: bool,
    memory: Memory,
}

impl Machine {
    /// The descriptors that it takes: the VM's and the vCPU's.
    pub(crate) const DESCRIPTORS: u64 = 2;

    /// Makes a VM of `memory`, which holds all that the guest needs, and a vCPU ready to start.
    ///
    /// # Errors
    /// When KVM refuses one of the steps.
    pub(crate) fn new(host: &Host, memory: Memory, start: &Start) -> Result<Machine, MachineError> {
        let mut machine = Machine::with_vcpu(host, memory, start.tables)?;
        let general = state::general_registers(start.entry, start.stack);
        let system = state::system_registers(start.tables.root, start.tables.system, &host.features);
        machine.take_over(general, system);
        Ok(machine)
    }

    /// Makes a VM of `memory`, a snapshot's, and a vCPU that goes on where that was saved.
    ///
    /// # Errors
    /// When KVM refuses one of the steps.
    pub(crate) fn resume(
        host: &Host,
        memory: Memory,
        tables: &Tables,
        saved: &Saved,
    ) -> Result<Machine, MachineError> {
        let mut machine = Machine::with_vcpu(host, memory, *tables)?;
        machine.set_saved(saved, entry::RESUME);
        Ok(machine)
    }

    /// A VM whose vCPU has no registers yet.
    fn with_vcpu(host: &Host, memory: Memory, tables: Tables) -> Result<Machine, MachineError> {
        let vm = match host.take_spare() {
            Some(vm) => vm,
            None => create_vm(host).map_err(refused("make a VM"))?,
        };
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
        let features = host.features;
        Ok(Machine { target, vcpu, vm, tables, features, unfinished: false, memory })
    }

    /// Gives the vCPU a saved state, to go on at an offset in the entry page.
    fn set_saved(&mut self, saved: &Saved, way_back: u64) {
        let Tables { root, system, entry_page } = self.tables;
        let system = system_registers(root, system, &self.features, &saved.segments);
        let registers = Registers { rip: entry_page + way_back, ..saved.registers };
        self.take_over(general_registers(&registers), system);
    }

    /// Has KVM take these over when the vCPU runs next.
    fn take_over(&mut self, general: kvm_regs, system: kvm_sregs) {
        let shared = self.vcpu.sync_regs_mut();
        shared.sregs = system;
        shared.regs = general;
        self.vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// The vector of the fault that the stub hands over, if it is the stub that is running.
    fn stub_fault(&self) -> Option<u8> {
        let stub = self.tables.system + STUB;
        let offset = self.shared().rip.checked_sub(stub).filter(|offset| *offset < PAGE)?;
        stub::vector_at(offset)
    }

    fn shared(&self) -> kvm_regs {
        self.vcpu.sync_regs().regs
    }

    fn system_registers(&self) -> Result<kvm_sregs, MachineError> {
        self.vcpu.get_sregs().map_err(refused("show the vCPU's system registers"))
    }

    /// Leaves a list of edits for the stub.
    fn leave_edits(&self, edits: &[Edit]) -> Result<(), MachineError> {
        stub::write_edits(&self.memory, self.tables.system, edits)
            .map_err(|error| refused("edit page tables")(io::Error::other(error)))
    }
}

impl machine::Machine for Machine {
    /// Any thread can run a VM.
    fn get_ready(&mut self) -> Result<(), MachineError> {
        Ok(())
    }

    /// A VM goes with the tender's process.
    fn end(&mut self) {}

    fn run(&mut self) -> Exit {
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

    fn call(&self) -> [u64; 5] {
        let regs = self.shared();
        [regs.rdi, regs.rsi, regs.rdx, regs.rcx, regs.r8]
    }

    fn set_result(&mut self, result: i64) {
        self.vcpu.sync_regs_mut().regs.rax = result as u64;
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    fn registers(&self) -> Registers {
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

    fn set_registers(&mut self, registers: &Registers) {
        self.vcpu.sync_regs_mut().regs = general_registers(registers);
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// Reads what the CPU pushed for a fault at CPL 3: error code (for some), RIP, CS, RFLAGS, RSP,
    /// SS (Intel SDM volume 3, section 7.14.2). The frame is where only CPL 0 writes.
    fn fault(&mut self, vector: u8) -> Result<Fault, Dead> {
        const FRAME: u64 = 5 * 8;
        let word = |offset| self.memory.read_u64(FAULT_STACK_TOP - FRAME + offset).unwrap_or_default();
        if word(8) & 3 != 3 {
            return Err(Dead::InStub(vector));
        }
        let registers = Registers { rip: word(0), rflags: word(16), rsp: word(24), ..self.registers() };
        let has_code = stub::has_error_code(vector);
        let error_code =
            if has_code { self.memory.read_u64(FAULT_STACK_TOP - FRAME - 8).unwrap_or_default() } else { 0 };
        let address = self.system_registers().map_or(0, |system| system.cr2);
        Ok(Fault { vector, error_code, address, registers })
    }

    /// A KVM that shadows page tables does not notice what user space writes into them: the stub does it,
    /// which the guest enters by a breakpoint in the entry page.
    fn change_tables(&mut self, edits: &[Edit]) -> Result<(), MachineError> {
        self.leave_edits(edits)?;
        self.vcpu.sync_regs_mut().regs.rip = self.tables.entry_page + entry::EDIT_TRAP;
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
        Ok(())
    }

    fn tables_are_changed(&self) -> Result<bool, OutOfMemory> {
        self.memory.read_u64(EDIT_LIST).map(|left| left == 0)
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn set_memory_end(&mut self, end: u64) -> io::Result<()> {
        self.memory.set_end(end)
    }

    fn aim(&mut self) -> Aim {
        self.target.aim(|| {})
    }

    fn stays_on_its_thread(&self) -> bool {
        false
    }

    fn lend_thread(&mut self) {}

    /// The stub clears the registers that are 0 here.
    fn save(&self) -> Result<Option<Saved>, MachineError> {
        let Some(segments) = Segments::of(&self.system_registers()?) else { return Ok(None) };
        let rip = self.tables.entry_page + entry::RETURN;
        let registers = Registers { rip, rax: 0, rcx: 0, rdx: 0, rsi: 0, rdi: 0, ..self.registers() };
        Ok(Some(Saved { registers, segments }))
    }

    fn save_start(&self) -> Saved {
        Saved { registers: self.registers(), segments: Segments::default() }
    }

    fn extended_state(&self) -> Result<Vec<u8>, MachineError> {
        let area = self.vcpu.get_xsave().map_err(refused("show the vCPU's extended state"))?;
        Ok(area.region.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// Has KVM do what is left of the last exit, and forget exceptions that it would deliver.
    fn finish(&mut self) {
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

    fn put_back(&mut self, saved: &Saved, edits: &[Edit]) -> Result<(), MachineError> {
        let way_back = if edits.is_empty() {
            entry::RESUME
        } else {
            self.leave_edits(edits)?;
            entry::RESUME_WITH_EDITS
        };
        self.set_saved(saved, way_back);
        Ok(())
    }

    fn dirty_pages(&mut self, bits: &mut [u64]) -> io::Result<()> {
        dirty::pages(&self.vm, SLOT, bits)
    }

    fn watch_again(&mut self, first_word: usize, bits: &[u64]) -> io::Result<()> {
        dirty::watch_again(&self.vm, SLOT, self.memory.size(), first_word, bits)
    }

    fn tsc_khz(&self) -> Option<u32> {
        self.vcpu.get_tsc_khz().ok().filter(|khz| *khz != 0)
    }

    /// KVM counts since Linux 5.14.
    fn counters(&self) -> io::Result<Counters> {
        counters::read(&self.vm, &self.vcpu)
    }
}

/// Makes a VM. KVM refuses while the thread has a signal to handle, of whatever kind: then the second attempt
/// has a time without signals.
pub(super) fn create_vm(host: &Host) -> Result<VmFd, kvm_ioctls::Error> {
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
