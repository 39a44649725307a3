//! The rules for running guests and for making them.

use super::Argument::{Any, Is, Null, One, Own};
use super::Duty::{Pool, Run, Serve, Snapshot, Worker};
use super::{Argument, CODE, DATA, List, first, rule, second, third};
use crate::machine::Backend;
use crate::process::{
    FOOTHOLD_LENGTH, FOOTHOLD_START, MAPPED, PAGEMAP_SCAN, UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT,
    USERFAULTFD,
};
use kvm_bindings::{
    kvm_clear_dirty_log, kvm_cpuid2, kvm_dirty_log, kvm_enable_cap, kvm_sregs, kvm_userspace_memory_region,
    kvm_xcrs, kvm_xsave,
};
use libc::*;

/// The number of an `ioctl` of KVM's (`linux/kvm.h`, `asm-generic/ioctl.h`).
const fn kvm(direction: u64, number: u64, size: usize) -> Argument {
    second(direction << 30 | (size as u64) << 16 | 0xae << 8 | number)
}

const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

/// A request of ptrace(2).
const fn ptrace(request: c_uint) -> Argument {
    first(request as u64)
}

/// The request of arch_prctl(2) that has `cpuid` trap, or not.
const CPUID: Argument = first(crate::process::ARCH_SET_CPUID);

/// Why a call is not made in every run.
const ASKS_CPU: &str = "in threads that make guests, and when they ask the CPU something";
const LATER: &str = "when the tender's own memory grows";
const STOPPED: &str = "when the process was stopped meanwhile";
const OLD_CLOCK: &str = "where reading the clock takes a call";

/// The flags of files in memory.
pub(super) const FILE: u64 = (MFD_CLOEXEC | MFD_ALLOW_SEALING) as u64;
const EXECUTABLE_FILE: u64 = (MFD_CLOEXEC | crate::memory::MFD_EXEC) as u64;

/// Running a guest, whatever does.
pub(super) const RUN: List = List {
    name: "running a guest",
    duties: &[Run, Snapshot, Pool, Serve, Worker],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_write, Any, "messages of the tender"),
        rule(SYS_ppoll, Any, "waiting for input, time or a signal, for the guest"),
        rule(SYS_restart_syscall, Any, "the same after that").rarely(STOPPED),
        rule(SYS_pread64, Any, "names for a crash report, from the image; pages of snapshots"),
        rule(SYS_statx, Any, "how long the file with names is"),
        rule(SYS_close, Any, "files, and what instances held"),
        rule(SYS_fcntl, second(F_DUPFD_CLOEXEC as u64), "the image within a snapshot; signals of a server"),
        rule(SYS_fcntl, second(F_GETFD as u64), "whether what is closed was open")
            .rarely("where the standard library looks at that, in debug builds"),
        rule(SYS_timer_create, Any, "the deadline"),
        rule(SYS_timer_settime, Any, "the deadline"),
        rule(SYS_timer_delete, Any, "the deadline's timer, when its thread ends"),
        rule(SYS_clock_gettime, Any, "the time").rarely(OLD_CLOCK),
        rule(SYS_getrandom, Any, "random numbers for the guest"),
        rule(SYS_rt_sigaction, Any, "the handler of the deadline's signal"),
        rule(SYS_rt_sigprocmask, Any, "when that signal may come"),
        rule(SYS_rt_sigreturn, Any, "the way back from a handler"),
        rule(SYS_gettid, Any, "whose deadline it is"),
        rule(SYS_getpid, Any, "the same, and ending by a signal"),
        rule(SYS_tgkill, Own(0), "ending by a signal, as after a panic of the tender")
            .rarely("after a mistake of the tender's, and on a second Ctrl-C"),
        rule(SYS_mmap, DATA, "memory of the tender's own"),
        rule(SYS_mremap, Any, "memory of the tender's own").rarely(LATER),
        rule(SYS_mprotect, DATA, "memory of the tender's own"),
        rule(SYS_munmap, Any, "memory of the tender's own"),
        rule(SYS_madvise, Any, "memory that the guest has no more use for"),
        rule(SYS_brk, Any, "memory of the tender's own"),
        rule(SYS_futex, Any, "locks"),
        rule(SYS_sched_yield, Any, "locks").rarely("when two threads want the same at once"),
        rule(SYS_process_vm_readv, Own(0), "memory of a snapshot's file that may be cut short meanwhile"),
        rule(SYS_process_vm_writev, Own(0), "the same"),
        rule(SYS_exit_group, Any, "the end"),
    ],
};

/// Running a guest in a VM.
pub(super) const RUN_KVM: List = List {
    name: "running a guest in a VM",
    duties: &[Run, Snapshot, Pool, Serve, Worker],
    backend: Backend::Kvm,
    rules: &[
        rule(SYS_ioctl, kvm(NONE, 0x80, 0), "KVM_RUN: the guest runs"),
        rule(SYS_ioctl, kvm(READ, 0x83, size_of::<kvm_sregs>()), "KVM_GET_SREGS: where a bad access went"),
        rule(SYS_ioctl, kvm(NONE, 0xa3, 0), "KVM_GET_TSC_KHZ: the guest's clock"),
    ],
};

/// What KVM counts.
pub(super) const STATISTICS: List = List {
    name: "statistics of a VM",
    duties: &[Run],
    backend: Backend::Kvm,
    rules: &[rule(SYS_ioctl, kvm(NONE, 0xce, 0), "KVM_GET_STATS_FD, for --stats")],
};

/// Running a guest in a process.
pub(super) const RUN_PROCESS: List = List {
    name: "running a guest in a process",
    duties: &[Run, Snapshot, Pool, Serve, Worker],
    backend: Backend::Process,
    rules: &[
        rule(SYS_ptrace, ptrace(PTRACE_SYSEMU), "the guest runs, and makes no system call"),
        rule(SYS_wait4, Any, "until it stops"),
        rule(SYS_ptrace, ptrace(PTRACE_GETREGS), "what it called, or where it was"),
        rule(SYS_ptrace, ptrace(PTRACE_SETREGSET), "what its call answers"),
        rule(SYS_ptrace, ptrace(PTRACE_GETSIGINFO), "why it stopped"),
        rule(SYS_ptrace, ptrace(PTRACE_PEEKSIGINFO), "whether it is about to stop for another reason"),
        rule(SYS_ptrace, ptrace(PTRACE_INTERRUPT), "its deadline has come"),
        rule(SYS_ptrace, ptrace(PTRACE_CONT), "a call that the tender has made in it"),
        rule(SYS_ptrace, ptrace(PTRACE_SYSCALL), "the same"),
        rule(SYS_ptrace, ptrace(PTRACE_SYSEMU_SINGLESTEP), "it meets a fault once more"),
        rule(SYS_ptrace, ptrace(PTRACE_SINGLESTEP), "the kernel writes down a fault"),
        rule(SYS_ptrace, ptrace(PTRACE_PEEKDATA), "what it has written"),
        rule(SYS_ptrace, ptrace(PTRACE_POKEDATA), "where it is to write"),
        rule(SYS_sched_setaffinity, Any, "the thread's place beside the guest's process"),
        rule(SYS_getcpu, Any, "the same, and a guest's jump into the vsyscall page, which is a fault")
            .rarely(OLD_CLOCK),
        rule(SYS_kill, second(SIGKILL as u64), "the end of the guest's process").and(One(0)),
        rule(SYS_fallocate, Any, "taking memory back from the guest"),
        rule(SYS_arch_prctl, CPUID, "cpuid in the tender itself, where it traps").rarely(ASKS_CPU),
    ],
};

/// Making an instance of an image or a snapshot, and a snapshot of an instance.
pub(super) const MAKE: List = List {
    name: "making instances and snapshots",
    duties: &[Snapshot, Pool, Serve, Worker],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_ftruncate, Any, "a snapshot, in memory; memory of a guest in a process"),
        rule(SYS_pwrite64, Any, "the same"),
        rule(SYS_memfd_create, second(FILE), "the same"),
        rule(SYS_lseek, Any, "which pages such a file has"),
        rule(SYS_fcntl, second(F_ADD_SEALS as u64), "that a snapshot in memory never changes"),
    ],
};

/// The same in VMs.
pub(super) const MAKE_KVM: List = List {
    name: "making VMs",
    duties: &[Snapshot, Pool, Serve, Worker],
    backend: Backend::Kvm,
    rules: &[
        rule(SYS_ioctl, kvm(NONE, 0x01, 0), "KVM_CREATE_VM"),
        rule(SYS_ioctl, kvm(NONE, 0x04, 0), "KVM_GET_VCPU_MMAP_SIZE"),
        rule(SYS_ioctl, kvm(NONE, 0x41, 0), "KVM_CREATE_VCPU"),
        rule(
            SYS_ioctl,
            kvm(WRITE, 0x46, size_of::<kvm_userspace_memory_region>()),
            "KVM_SET_USER_MEMORY_REGION",
        ),
        rule(SYS_ioctl, kvm(WRITE, 0x90, size_of::<kvm_cpuid2>()), "KVM_SET_CPUID2"),
        rule(SYS_ioctl, kvm(WRITE, 0xa7, size_of::<kvm_xcrs>()), "KVM_SET_XCRS"),
        rule(
            SYS_ioctl,
            kvm(WRITE, 0xa3, size_of::<kvm_enable_cap>()),
            "KVM_ENABLE_CAP: the log of dirty pages",
        ),
        rule(SYS_ioctl, kvm(WRITE, 0x42, size_of::<kvm_dirty_log>()), "KVM_GET_DIRTY_LOG"),
        rule(SYS_ioctl, kvm(READ | WRITE, 0xc0, size_of::<kvm_clear_dirty_log>()), "KVM_CLEAR_DIRTY_LOG"),
        rule(SYS_ioctl, kvm(READ, 0xa4, size_of::<kvm_xsave>()), "KVM_GET_XSAVE: a snapshot"),
    ],
};

/// The same in processes.
pub(super) const MAKE_PROCESS: List = List {
    name: "making processes for guests",
    duties: &[Snapshot, Pool, Serve, Worker],
    backend: Backend::Process,
    rules: &[
        rule(SYS_memfd_create, second(EXECUTABLE_FILE), "its memory, which holds code too"),
        rule(SYS_memfd_create, second(MFD_CLOEXEC as u64), "the same").rarely("before Linux 6.3"),
        rule(SYS_clone, first(0), "a process: with no flags, it shares nothing"),
        rule(SYS_ptrace, ptrace(PTRACE_SEIZE), "tracing it"),
        rule(SYS_ptrace, ptrace(PTRACE_GETREGSET), "its extended state, for a snapshot"),
    ],
};

/// Finding out which pages the guest in a process has written.
pub(super) const WATCH: List = List {
    name: "watching the pages of a process",
    duties: &[Pool, Serve, Worker],
    backend: Backend::Process,
    rules: &[
        rule(SYS_pidfd_open, One(0), "taking a descriptor from it").and(second(0)),
        rule(SYS_pidfd_getfd, third(0), "the same"),
        rule(SYS_ioctl, second(UFFDIO_API), "a descriptor that watches its pages"),
        rule(SYS_ioctl, second(UFFDIO_REGISTER), "the same"),
        rule(SYS_ioctl, second(UFFDIO_WRITEPROTECT), "which of them"),
        rule(SYS_ioctl, second(PAGEMAP_SCAN), "what it has seen"),
    ],
};

/// Where these are made, nobody but the tender can look. A test of `process` holds its steps against the rules.
pub(crate) const STEP: &str =
    "in the guest's process, which nobody but the tender traces, before its first instruction";
/// Nor there.
const BETWEEN: &str =
    "in the guest's process, which nobody but the tender traces, between the guest's instructions";

/// What a guest's process does before and between the guest's instructions: it has the filter of the thread
/// that made it, beside its own. No call of the guest comes as far as a filter.
pub(super) const CHILD: List = List {
    name: "in a guest's process",
    duties: &[Snapshot, Pool, Serve, Worker],
    backend: Backend::Process,
    rules: &[
        rule(SYS_mmap, CODE, "the guest's memory, of which code is not writable")
            .and(Is(3, MAPPED))
            .rarely(STEP),
        rule(SYS_mmap, third((PROT_READ | PROT_EXEC) as u64), "the tender's own code in it")
            .and(first(FOOTHOLD_START & 0xffff_ffff))
            .and(second(FOOTHOLD_LENGTH))
            .and(Is(3, (MAP_SHARED | MAP_FIXED) as u64))
            .rarely(STEP),
        rule(SYS_mprotect, CODE, "the guest's rights, of which none are to write and execute")
            .rarely(BETWEEN),
        rule(
            SYS_userfaultfd,
            first(USERFAULTFD),
            "a descriptor that watches its pages, which the tender takes from it",
        )
        .rarely(BETWEEN),
        rule(SYS_getppid, Any, "whether the tender lives").rarely(STEP),
        rule(
            SYS_personality,
            first(crate::process::PER_LINUX),
            "nothing executable but what the tender says",
        )
        .rarely(STEP),
        rule(SYS_prctl, first(PR_SET_PDEATHSIG as u64), "ending with the tender").rarely(STEP),
        rule(SYS_prctl, first(PR_SET_NO_NEW_PRIVS as u64), "no new privileges").rarely(STEP),
        rule(SYS_close_range, first(0), "no descriptors").and(second(u32::MAX as u64)).rarely(STEP),
        rule(SYS_prlimit64, first(0), "no core dumps of its own")
            .and(second(RLIMIT_CORE as u64))
            .and(Null(3))
            .rarely(STEP),
        rule(SYS_seccomp, first(SECCOMP_SET_MODE_FILTER as u64), "its own filter")
            .and(second(0))
            .rarely(STEP),
        rule(SYS_kill, second(SIGSTOP as u64), "telling the tender of a step that was refused")
            .and(One(0))
            .rarely(BETWEEN),
        rule(SYS_gettimeofday, Any, "a guest's jump into the vsyscall page, which is a fault")
            .rarely(BETWEEN),
        rule(SYS_time, Any, "the same").rarely(BETWEEN),
    ],
};

/// What running a guest in a process takes that a tender with threads has rules for by itself.
pub(super) const ONLY_THREAD: List = List {
    name: "running a guest in a process, of a tender without threads",
    duties: &[Run, Snapshot],
    backend: Backend::Process,
    rules: &[rule(SYS_sched_getaffinity, Any, "where the thread may run")],
};

/// What such a process does that a tender with threads has rules for by itself.
pub(super) const ONLY_CHILD: List = List {
    name: "in a guest's process, of a tender without threads",
    duties: &[Snapshot],
    backend: Backend::Process,
    rules: &[rule(SYS_rseq, Any, "giving up restartable sequences").rarely(STEP)],
};
