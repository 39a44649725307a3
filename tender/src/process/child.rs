//! How the child is made, and what it gives up.
//!
//! It begins as a copy of the tender, and carries out a list of system calls from the foothold, the first of
//! which unmap all that it was. None of them is the guest's doing. The last puts a filter in force that hands
//! every system call to the tracer and executes none.

use super::foothold::{self, Step};
use super::space::Run;
use super::tracee::{Stop, Tracee};
use crate::machine::{MachineError, ended};
use crate::memory::Memory;
use std::arch::{asm, global_asm};
use std::io;
use std::os::fd::AsRawFd;

/// The request of arch_prctl(2) that has `cpuid` trap, or not (Linux, arch/x86/include/uapi/asm/prctl.h).
pub(crate) const ARCH_SET_CPUID: u64 = 0x1012;

/// How the guest's memory is mapped there, as mmap(2) takes it.
pub(crate) const MAPPED: u64 = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE) as u64;
/// The plain personality(2).
pub(crate) const PER_LINUX: u64 = 0;

/// Names what was being done when the kernel refused.
pub(super) fn refused(doing: &'static str) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError { who: "the kernel", doing, source }
}

/// There is no process for the guest.
fn unmade(error: io::Error) -> MachineError {
    refused(match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            "make a process for the guest: this user has as many as it may (ulimit -u), or this container or service as \
             many as its cgroup may (pids.max); end some, or raise the limit"
        }
        _ => "make a process for the guest",
    })(error)
}

/// Makes a child that has `runs` of `memory` and nothing else, stopped before its first instruction.
pub(super) fn make(memory: &Memory, runs: &[Run], xcr0: u64) -> Result<Tracee, MachineError> {
    let file = memory.file().ok_or(io::ErrorKind::InvalidInput.into());
    let file = file.map_err(refused("share the guest's memory with a process"))?.as_raw_fd();
    let steps = steps(file, runs);
    foothold::write(memory, &steps, xcr0).map_err(refused("hold the guest's memory"))?;
    let process = begin(file, memory.size()).map_err(unmade)?;
    let mut tracee = Tracee::seize(process).map_err(refused(
        "let the tender trace the guest's process (ptrace; /proc/sys/kernel/yama/ptrace_scope must be 0 or 1: with 2 it \
         takes CAP_SYS_PTRACE, which the tender gives up, root's too, and 3 forbids it for good until a restart; and a \
         container's seccomp profile must let it through, as Docker's does since Linux 4.8: else --cap-add SYS_PTRACE, \
         which helps with the profile alone)",
    ))?;
    settle(&mut tracee, &steps)?;
    foothold::clear(memory, steps.len()).map_err(refused("hold the guest's memory"))?;
    Ok(tracee)
}

/// Waits until all steps are done.
fn settle(tracee: &mut Tracee, steps: &[Step]) -> Result<(), MachineError> {
    loop {
        let stop = tracee.wait().map_err(refused("tell how the guest's process is"))?;
        match stop {
            Stop::SystemCall => return Ok(()),
            Stop::Ended(status) => {
                let words = format!("it {} before it had begun", ended(status));
                return Err(refused("keep the guest's process")(io::Error::other(words)));
            }
            _ => {}
        }
        let registers = tracee.registers().map_err(refused("tell how the guest's process is"))?;
        let error = registers.r12 as i64;
        if matches!(stop, Stop::Signal(libc::SIGSTOP) | Stop::Interrupted) && (-4095..0).contains(&error) {
            let doing = steps.get(foothold::step_at(registers.rbx)).map_or("prepare it", |step| step.doing);
            return Err(refused(doing)(io::Error::from_raw_os_error(-error as i32)));
        }
        tracee.go_on().map_err(refused("let the guest's process go on"))?;
    }
}

const UNMAP: &str = "unmap the tender's memory and the vDSO in the guest's process (kernels that seal system mappings refuse it)";

/// The system calls by which a child gives up what it has and gets what it needs.
fn steps(file: i32, runs: &[Run]) -> Vec<Step> {
    /// RSEQ_FLAG_UNREGISTER, and the signature that glibc registers with on this CPU.
    const UNREGISTER: u64 = 1;
    const SIGNATURE: u64 = 0x5305_3053;
    const SECCOMP_SET_MODE_FILTER: u64 = 1;
    let own = std::process::id();
    let control = libc::SYS_prctl;
    let mut steps = vec![
        Step::new(
            "end the guest's process with the tender",
            control,
            [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64],
            0,
        ),
        // The tender may have died before. This is `foothold::PARENT_STEP`.
        Step::new("find its own child", libc::SYS_getppid, [], own.into()),
        Step::new(
            "block signals",
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as u64, foothold::SIGNAL_MASK, 0, 8],
            0,
        ),
    ];
    // `setarch -X` and old programs have what can be read be executable too. What it was the call answers, and so
    // the second time that it is none.
    for expected in [foothold::ANY, 0] {
        let doing = "have only code executable in the guest's process (personality; a container's profile must let 0 through)";
        steps.push(Step::new(doing, libc::SYS_personality, [PER_LINUX], expected));
    }
    if let Some((address, length)) = restartable_sequences() {
        steps.push(Step::new(
            "give up restartable sequences",
            libc::SYS_rseq,
            [address, length, UNREGISTER, SIGNATURE],
            0,
        ));
    }
    steps.push(Step::new(UNMAP, libc::SYS_munmap, [0, foothold::START], 0));
    if foothold::is_below_the_end() {
        steps.push(Step::new(
            UNMAP,
            libc::SYS_munmap,
            [foothold::END, foothold::LARGEST_END - foothold::END],
            0,
        ));
    }
    steps.extend(runs.iter().map(|run| {
        let protection = run.protection() as u64;
        let arguments = [run.address, run.length, protection, MAPPED, file as u64, run.physical];
        Step::new("map the guest's memory in its process", libc::SYS_mmap, arguments, run.address)
    }));
    steps.extend([
        // All of the mappings; that there are gaps between them is an error, after the rest is done.
        Step::new(
            "keep the guest's memory out of core dumps",
            libc::SYS_madvise,
            [0, foothold::START, libc::MADV_DONTDUMP as u64],
            foothold::ANY,
        ),
        Step::new(
            "close the guest's descriptors (Linux 5.9 and newer can)",
            libc::SYS_close_range,
            [0, u32::MAX.into(), 0],
            0,
        ),
        Step::new(
            "forbid core dumps",
            libc::SYS_prlimit64,
            [0, libc::RLIMIT_CORE.into(), foothold::NO_CORE, 0],
            0,
        ),
        // A CPU that cannot shows all that it has.
        Step::new("have cpuid trap", libc::SYS_arch_prctl, [ARCH_SET_CPUID, 0], foothold::ANY),
        Step::new("give up new privileges", control, [libc::PR_SET_NO_NEW_PRIVS as u64, 1], 0),
        Step::new(
            "take every system call from the guest (seccomp; CONFIG_SECCOMP_FILTER must be in the kernel, and a \
             container's profile must let it through: --security-opt seccomp=FILE names another)",
            libc::SYS_seccomp,
            [SECCOMP_SET_MODE_FILTER, 0, foothold::FILTER_PROGRAM],
            0,
        ),
    ]);
    steps
}

global_asm!(
    // glibc since 2.35 has both; other C libraries register nothing.
    ".weak __rseq_offset",
    ".weak __rseq_size",
    ".pushsection .text.coracle_rseq, \"ax\"",
    // Answers the address and the size of the area of this thread, or zeros.
    "coracle_rseq:",
    "    xor eax, eax",
    "    xor edx, edx",
    "    mov rcx, [rip + __rseq_offset@GOTPCREL]",
    "    mov rsi, [rip + __rseq_size@GOTPCREL]",
    "    test rcx, rcx",
    "    jz 2f",
    "    test rsi, rsi",
    "    jz 2f",
    "    mov edx, [rsi]",
    "    mov rax, fs:[0]",
    "    add rax, [rcx]",
    "2:  ret",
    ".popsection",
);

/// Where the C library keeps this thread's restartable sequence, of which the kernel writes the number of the
/// CPU there, in the child too.
fn restartable_sequences() -> Option<(u64, u64)> {
    let (address, length): (u64, u64);
    // SAFETY: the code above changes no other registers and reads two constants of the C library.
    unsafe {
        asm!(
            "call coracle_rseq",
            out("rax") address,
            out("rdx") length,
            out("rcx") _,
            out("rsi") _,
        );
    }
    /// What the first version of the structure takes, which is registered at least.
    const LEAST: u64 = 32;
    (address != 0 && length != 0).then_some((address, length.max(LEAST)))
}

/// Makes the child, which maps the foothold and goes on there.
fn begin(file: i32, offset: u64) -> io::Result<libc::pid_t> {
    let child: i64;
    // SAFETY: to this process it is a system call like others, and the code behind it is not reached. The
    // child has all that it needs in registers, writes no memory, and never comes back from the foothold.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {mmap}",
            "mov rdi, {start}",
            "mov esi, {length}",
            "mov edx, {protection}",
            "mov r10d, {flags}",
            "mov r8, r12",
            "mov r9, r13",
            "syscall",
            "mov rdi, {start}",
            "cmp rax, rdi",
            "jne 3f",
            "jmp rdi",
            "3: mov edi, 1",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            mmap = const libc::SYS_mmap,
            exit = const libc::SYS_exit_group,
            start = const foothold::START,
            length = const foothold::LENGTH,
            protection = const libc::PROT_READ | libc::PROT_EXEC,
            flags = const libc::MAP_SHARED | libc::MAP_FIXED,
            inlateout("rax") libc::SYS_clone => child,
            // No signal tells of its end, so that nobody else waits for it.
            in("rdi") 0,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") file as i64,
            in("r13") offset,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match child {
        error @ ..0 => Err(io::Error::from_raw_os_error(-error as i32)),
        process => libc::pid_t::try_from(process).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::unmade;
    use std::io;

    #[test]
    fn where_there_are_as_many_processes_as_there_may_be_the_limits_are_named() {
        let said = unmade(io::Error::from_raw_os_error(libc::EAGAIN)).to_string();
        assert!(said.contains("ulimit -u") && said.contains("pids.max"), "{said}");
        let said = unmade(io::Error::from_raw_os_error(libc::ENOMEM)).to_string();
        assert!(!said.contains("ulimit") && said.contains("Cannot allocate memory"), "{said}");
    }

    /// The child's calls when it has the filter of a confined tender.
    #[cfg(feature = "confine")]
    #[test]
    fn the_rules_for_a_guests_process_are_those_that_its_steps_take() {
        use super::{Run, foothold, steps};
        use crate::confine::Duty;
        use crate::confine::rules::{STEP, of};
        use crate::machine::Backend;
        use coracle_hypercall::memory::Rights;

        let rights =
            [Rights::empty(), Rights::READ, Rights::READ | Rights::WRITE, Rights::READ | Rights::EXECUTE];
        let run = |rights| Run { address: 1 << 30, physical: 0, length: 1 << 20, rights };
        let calls = steps(3, &rights.map(run)).into_iter().map(|step| {
            let [number, arguments @ .., _] = step.words;
            (number, arguments)
        });
        let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let begins = (libc::SYS_mmap as u64, [foothold::START, foothold::LENGTH, code, shared, 3, 0]);
        let calls: Vec<_> = calls.chain([begins]).collect();
        for duty in [Duty::Snapshot, Duty::Pool, Duty::Serve, Duty::Worker] {
            let rules: Vec<_> = of(duty, Backend::Process).collect();
            let process = std::process::id();
            for (number, arguments) in &calls {
                let is_there = rules.iter().any(|rule| is_for(rule, *number, arguments, process));
                assert!(is_there, "{duty:?}: {number} {arguments:#x?}");
            }
            for rule in rules.iter().filter(|rule| rule.rarely == Some(STEP)) {
                // Other C libraries have none.
                let none = rule.call == libc::SYS_rseq && super::restartable_sequences().is_none();
                let takes = |(number, arguments): &_| is_for(rule, *number, arguments, process);
                assert!(none || calls.iter().any(takes), "no step takes {rule:?}");
            }
        }
    }

    #[cfg(feature = "confine")]
    fn is_for(rule: &crate::confine::rules::Rule, number: u64, arguments: &[u64; 6], process: u32) -> bool {
        rule.call as u64 == number && rule.fits(arguments, process)
    }
}
