//! One VM with one vCPU.

use super::exit::{Dead, Exit};
use super::kick::{Kicker, Reachable, Target};
use super::{Host, KvmStatistics};
use crate::cpu::{FAULT_PORT, HYPERCALL_PORT, state, stub};
use crate::layout::STUB;
use crate::memory::Memory;
use crate::registers::Registers;
use coracle_hypercall::memory::PAGE;
use kvm_bindings::{kvm_regs, kvm_sregs, kvm_userspace_memory_region, kvm_xcr, kvm_xcrs};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd, VmFd};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

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

/// Where the guest starts.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The guest-virtual address of the first instruction.
    pub entry: u64,
    /// The guest-virtual address that the stack pointer starts with.
    pub stack: u64,
    /// The guest-physical address of the PML4.
    pub root: u64,
    /// The guest-virtual address of the system place.
    pub system: u64,
}

/// One VM with one vCPU. It is run by the thread that made it.
#[derive(Debug)]
pub struct Machine {
    // Fields are dropped in this order: what points into the vCPU, the vCPU, its VM, and then the
    // memory that they map.
    target: Target,
    vcpu: VcpuFd,
    vm: VmFd,
    kicker: Arc<Kicker>,
    stub: u64,
    memory: Memory,
    /// Kicks go to the thread that made the machine: it does not move to another.
    bound_to_thread: PhantomData<*const ()>,
}

impl Machine {
    /// Makes a VM of `memory`, which holds all that the guest needs, and a vCPU ready to start.
    ///
    /// # Errors
    /// When KVM refuses one of the steps.
    pub fn new(host: &Host, memory: Memory, start: &Start) -> Result<Machine, MachineError> {
        let vm = host.kvm.create_vm().map_err(refused("make a VM"))?;
        let slot = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: memory.size(),
            userspace_addr: memory.host_address(),
        };
        // SAFETY: the range is mapped, belongs to `memory` alone, and outlives the VM: see the order
        // of the fields.
        unsafe { vm.set_user_memory_region(slot) }.map_err(refused("give the VM its memory"))?;
        let mut vcpu = vm.create_vcpu(0).map_err(refused("make a vCPU"))?;
        vcpu.set_cpuid2(&host.cpuid).map_err(refused("set the vCPU's CPUID"))?;
        let kicker = Arc::new(Kicker::new().map_err(refused("make the vCPU's timer"))?);
        let shared = vcpu.sync_regs_mut();
        shared.sregs = state::system_registers(start.root, start.system, &host.features);
        shared.regs = state::general_registers(start.entry, start.stack);
        vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        vcpu.set_sync_dirty_reg(SyncReg::Register);
        vcpu.set_sync_valid_reg(SyncReg::Register);
        if host.features.xcr0 != 0 {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
            if let Some(first) = xcrs.xcrs.first_mut() {
                *first = kvm_xcr { xcr: 0, reserved: 0, value: host.features.xcr0 };
            }
            vcpu.set_xcrs(&xcrs).map_err(refused("switch on the vCPU's extended state"))?;
        }
        let target = Target::new(&raw mut vcpu.get_kvm_run().immediate_exit);
        Ok(Machine {
            target,
            vcpu,
            vm,
            kicker,
            stub: start.system + STUB,
            memory,
            bound_to_thread: PhantomData,
        })
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What makes the vCPU come back early.
    #[must_use]
    pub fn kicker(&self) -> Arc<Kicker> {
        Arc::clone(&self.kicker)
    }

    /// Lets kicks reach this thread for as long as the answer lives.
    #[must_use]
    pub fn be_reachable(&self) -> Reachable {
        Reachable::new()
    }

    /// Runs the guest until it comes back.
    pub fn run(&mut self) -> Exit {
        self.target.aim();
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
        match exit {
            Exit::Port { port, width: 1, write: true } if port == u16::from(FAULT_PORT) => {
                match self.stub_fault() {
                    Some(vector) => Exit::Fault { vector },
                    None => exit,
                }
            }
            other => other,
        }
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

/// What an access to a port means. A string instruction that repeats moves more than four bytes.
fn port_exit(port: u16, length: usize, write: bool) -> Exit {
    if port == u16::from(HYPERCALL_PORT) && write && length == 4 {
        return Exit::Hypercall;
    }
    Exit::Port { port, width: u8::try_from(length).unwrap_or(u8::MAX), write }
}
