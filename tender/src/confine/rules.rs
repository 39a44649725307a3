//! Which system calls a confined process may make, and why. Anything else is not what the tender does.

use kvm_bindings::{
    kvm_clear_dirty_log, kvm_cpuid2, kvm_dirty_log, kvm_enable_cap, kvm_sregs, kvm_userspace_memory_region,
    kvm_xcrs, kvm_xsave,
};
use libc::*;

/// What a process does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// It runs one guest to its end.
    Run,
    /// It also writes that guest's snapshot.
    Snapshot,
    /// It makes calls in instances, which it makes itself.
    Pool,
    /// It also answers HTTP.
    Serve,
}

/// What is asked of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    Any,
    /// This one (from 0) is this number.
    Is(u8, u64),
    /// This one has none of these bits.
    Without(u8, u64),
}

use Argument::{Any, Is, Without};

/// A system call that may be made. Several rules for one call: each allows it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its number.
    pub call: c_long,
    /// And only with such an argument.
    pub argument: Argument,
    /// What it is for.
    pub why: &'static str,
}

const fn rule(call: c_long, argument: Argument, why: &'static str) -> Rule {
    Rule { call, argument, why }
}

/// The number of an `ioctl` of KVM's (`linux/kvm.h`, `asm-generic/ioctl.h`).
const fn kvm(direction: u64, number: u64, size: usize) -> Argument {
    Is(1, direction << 30 | (size as u64) << 16 | 0xae << 8 | number)
}

const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

/// Not executable: `mmap` and `mprotect` take the rights as their third argument.
const DATA: Argument = Without(2, PROT_EXEC as u64);
/// Read only: `openat` takes what is asked for as its third argument.
const TO_READ: Argument = Without(2, (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) as u64);

/// What running a guest takes.
const RUN: &[Rule] = &[
    rule(SYS_ioctl, kvm(NONE, 0x80, 0), "KVM_RUN: the guest runs"),
    rule(SYS_ioctl, kvm(READ, 0x83, size_of::<kvm_sregs>()), "KVM_GET_SREGS: where a bad access went"),
    rule(SYS_ioctl, kvm(NONE, 0xa3, 0), "KVM_GET_TSC_KHZ: the guest's clock"),
    rule(SYS_ioctl, kvm(NONE, 0xce, 0), "KVM_GET_STATS_FD: what KVM counted, for --stats"),
    rule(SYS_read, Any, "standard input; random numbers and counts of KVM"),
    rule(SYS_readv, Any, "standard input, straight into guest memory"),
    rule(SYS_write, Any, "messages of the tender"),
    rule(SYS_writev, Any, "standard output, straight from guest memory"),
    rule(SYS_poll, Any, "waiting until messages are taken"),
    rule(SYS_ppoll, Any, "waiting for input, time or a signal, for the guest"),
    rule(SYS_restart_syscall, Any, "the same after the process was stopped and continued"),
    rule(SYS_fcntl, Is(1, F_SETPIPE_SZ as u64), "larger pipes for large pieces"),
    rule(SYS_fcntl, Is(1, F_GETFD as u64), "whether a descriptor is open"),
    rule(SYS_pread64, Any, "names for a crash report, from the image"),
    rule(SYS_statx, Any, "how long the file with names is"),
    rule(SYS_lseek, Any, "the same, and whether a stream has a position"),
    rule(SYS_openat, TO_READ, "the file of --symbols, which landlock lets through"),
    rule(SYS_close, Any, "that file, and what the guest held"),
    rule(SYS_timer_create, Any, "the deadline"),
    rule(SYS_timer_settime, Any, "the deadline"),
    rule(SYS_timer_delete, Any, "the deadline, when its thread ends"),
    rule(SYS_clock_gettime, Any, "the time, on a machine whose clock is not in the vDSO"),
    rule(SYS_clock_nanosleep, Any, "waiting a little"),
    rule(SYS_getrandom, Any, "random numbers for the guest"),
    rule(SYS_rt_sigaction, Any, "the handler of the deadline's signal"),
    rule(SYS_rt_sigprocmask, Any, "when that signal may come"),
    rule(SYS_rt_sigreturn, Any, "the way back from a handler"),
    rule(SYS_gettid, Any, "whose deadline it is"),
    rule(SYS_getpid, Any, "the same, and ending by a signal"),
    rule(SYS_tgkill, Any, "ending by a signal, as after a panic of the tender"),
    rule(SYS_sigaltstack, Any, "a thread's end"),
    rule(SYS_mmap, DATA, "memory of the tender's own"),
    rule(SYS_mremap, Any, "memory of the tender's own"),
    rule(SYS_mprotect, DATA, "memory of the tender's own"),
    rule(SYS_munmap, Any, "memory of the tender's own"),
    rule(SYS_madvise, Any, "memory that the guest has no more use for"),
    rule(SYS_brk, Any, "memory of the tender's own"),
    rule(SYS_futex, Any, "locks"),
    rule(SYS_process_vm_readv, Any, "memory of a snapshot's file that may be cut short meanwhile"),
    rule(SYS_process_vm_writev, Any, "the same"),
    rule(SYS_exit, Any, "a thread's end"),
    rule(SYS_exit_group, Any, "the end"),
];

/// What taking a snapshot takes besides.
const SNAPSHOT: &[Rule] = &[
    rule(SYS_ioctl, kvm(READ, 0xa4, size_of::<kvm_xsave>()), "KVM_GET_XSAVE: the guest's extended state"),
    rule(SYS_openat, Any, "the file, in the folder that landlock lets through"),
    rule(SYS_ftruncate, Any, "its length"),
    rule(SYS_pwrite64, Any, "its pages"),
    rule(SYS_fallocate, Any, "its holes"),
    rule(SYS_fsync, Any, "its safety"),
    rule(SYS_rename, Any, "its name, when it is complete"),
    rule(SYS_unlink, Any, "its removal when it is not"),
    rule(SYS_memfd_create, Any, "the same in memory"),
    rule(SYS_fcntl, Is(1, F_ADD_SEALS as u64), "that it never changes"),
    rule(SYS_copy_file_range, Any, "the image within it"),
];

/// What making instances takes besides.
const POOL: &[Rule] = &[
    rule(SYS_ioctl, kvm(NONE, 0x01, 0), "KVM_CREATE_VM"),
    rule(SYS_ioctl, kvm(NONE, 0x03, 0), "KVM_CHECK_EXTENSION"),
    rule(SYS_ioctl, kvm(NONE, 0x04, 0), "KVM_GET_VCPU_MMAP_SIZE"),
    rule(SYS_ioctl, kvm(NONE, 0x41, 0), "KVM_CREATE_VCPU"),
    rule(SYS_ioctl, kvm(WRITE, 0x46, size_of::<kvm_userspace_memory_region>()), "KVM_SET_USER_MEMORY_REGION"),
    rule(SYS_ioctl, kvm(WRITE, 0x90, size_of::<kvm_cpuid2>()), "KVM_SET_CPUID2"),
    rule(SYS_ioctl, kvm(WRITE, 0xa7, size_of::<kvm_xcrs>()), "KVM_SET_XCRS"),
    rule(SYS_ioctl, kvm(WRITE, 0xa3, size_of::<kvm_enable_cap>()), "KVM_ENABLE_CAP: the log of dirty pages"),
    rule(SYS_ioctl, kvm(WRITE, 0x42, size_of::<kvm_dirty_log>()), "KVM_GET_DIRTY_LOG"),
    rule(SYS_ioctl, kvm(READ | WRITE, 0xc0, size_of::<kvm_clear_dirty_log>()), "KVM_CLEAR_DIRTY_LOG"),
    rule(SYS_ioctl, kvm(READ, 0xa4, size_of::<kvm_xsave>()), "KVM_GET_XSAVE: a fresh layout's snapshot"),
    rule(SYS_ioctl, Is(1, TCGETS), "whether progress is shown"),
    rule(SYS_ioctl, Is(1, TIOCGWINSZ), "how wide it may be"),
    rule(SYS_clone3, Any, "threads"),
    rule(SYS_clone, Any, "threads, where the C library does not know clone3"),
    rule(SYS_set_robust_list, Any, "threads"),
    rule(SYS_rseq, Any, "threads"),
    rule(SYS_prctl, Is(0, PR_SET_NAME as u64), "names of threads"),
    rule(SYS_sched_getaffinity, Any, "how many threads are of use"),
    rule(SYS_sched_yield, Any, "locks"),
    rule(SYS_ftruncate, Any, "a fresh layout's snapshot, in memory"),
    rule(SYS_pwrite64, Any, "the same"),
    rule(SYS_fallocate, Any, "the same"),
    rule(SYS_memfd_create, Any, "the same"),
    rule(SYS_fcntl, Is(1, F_ADD_SEALS as u64), "the same"),
    rule(SYS_copy_file_range, Any, "the same"),
];

/// What answering HTTP takes besides.
const SERVE: &[Rule] = &[
    rule(SYS_accept4, Any, "connections"),
    rule(SYS_recvfrom, Any, "requests"),
    rule(SYS_recvmsg, Any, "requests"),
    rule(SYS_sendto, Any, "responses"),
    rule(SYS_sendmsg, Any, "responses"),
    rule(SYS_shutdown, Any, "the end of a connection"),
    rule(SYS_setsockopt, Any, "responses without delay"),
    rule(SYS_getsockopt, Any, "what went wrong with a connection"),
    rule(SYS_getsockname, Any, "the address that is listened on"),
    rule(SYS_getpeername, Any, "who asks"),
    rule(SYS_fcntl, Is(1, F_GETFL as u64), "connections that do not block"),
    rule(SYS_fcntl, Is(1, F_SETFL as u64), "connections that do not block"),
    rule(SYS_fcntl, Is(1, F_DUPFD_CLOEXEC as u64), "what signals are told through"),
    rule(SYS_ioctl, Is(1, FIONBIO), "connections that do not block"),
    rule(SYS_epoll_create1, Any, "waiting for many connections"),
    rule(SYS_epoll_ctl, Any, "waiting for many connections"),
    rule(SYS_epoll_wait, Any, "waiting for many connections"),
    rule(SYS_epoll_pwait, Any, "waiting for many connections"),
    rule(SYS_eventfd2, Any, "waking who waits"),
];

/// All that is allowed for some duty, by duty.
pub const ALL: [(Duty, &[Rule]); 4] =
    [(Duty::Run, RUN), (Duty::Snapshot, SNAPSHOT), (Duty::Pool, POOL), (Duty::Serve, SERVE)];

/// The rules for a duty.
pub(super) fn of(duty: Duty) -> impl Iterator<Item = &'static Rule> {
    let more = match duty {
        Duty::Run => &[][..],
        Duty::Snapshot => &[SNAPSHOT][..],
        Duty::Pool => &[POOL][..],
        Duty::Serve => &[POOL, SERVE][..],
    };
    RUN.iter().chain(more.iter().copied().flatten())
}
