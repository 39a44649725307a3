//! A system call that is not on the list ends the process.

use super::in_a_child;
use crate::library::alone;
use coracle_tender::confine::rules::{self, Argument};
use coracle_tender::confine::{self, Duty, has_seccomp};
use coracle_tender::machine::Backend;
use std::collections::BTreeSet;

/// More than there are (Linux 6.18 has 470), and none of x32.
const NUMBERS: libc::c_long = 500;

/// `uretprobe` and `uprobe`, which Linux shows to no filter. They do nothing but where the kernel itself has put
/// a probe.
const OF_THE_KERNEL: [libc::c_long; 2] = [335, 336];

/// Ends a child in which something went otherwise.
const UNCONFINED: i32 = 99;

/// What becomes of a process that has a duty and makes a call.
fn status_after(duty: Duty, backend: Backend, call: libc::c_long, arguments: [u64; 6]) -> i32 {
    in_a_child(|| {
        if confine::calls(duty, backend).is_err() {
            return UNCONFINED;
        }
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: calls that are let through do no harm to a child that ends at once; others are not made.
        unsafe { libc::syscall(call, a, b, c, d, e, f) };
        7
    })
}

fn is_killed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS
}

/// Whether this kernel has no filters, which is told by name.
#[track_caller]
fn no_seccomp() -> bool {
    let missing = !has_seccomp();
    if missing {
        crate::not_run::not_run("this kernel has no seccomp");
    }
    missing
}

#[test]
fn every_call_without_a_rule_kills() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::every_call_without_a_rule_kills", || {
        for (duty, backend) in
            [(Duty::Run, Backend::Kvm), (Duty::Worker, Backend::Process), (Duty::Serve, Backend::Process)]
        {
            let allowed: BTreeSet<_> = rules::of(duty, backend).map(|rule| rule.call).collect();
            let step = crate::lane::times(1, 17) as usize;
            for call in (0..NUMBERS)
                .step_by(step)
                .filter(|call| !allowed.contains(call) && !OF_THE_KERNEL.contains(call))
            {
                let status = status_after(duty, backend, call, [0; 6]);
                assert!(is_killed(status), "{duty:?}, {backend:?}: call {call}: {status:#x}");
            }
        }
    });
}

#[test]
fn a_call_with_other_arguments_than_its_rules_have_kills() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::a_call_with_other_arguments_than_its_rules_have_kills", || {
        /// `ioctl` that types for whoever sits at the terminal, and one of KVM's for a device.
        const CREATE_DEVICE: u64 = 0xc00c_aee0;
        // Each child makes these calls with the number of its parent.
        let other = std::process::id().into();
        let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let page = code | libc::PROT_WRITE as u64;
        let cases = [
            ("ptrace attach", libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), other, 0, 0, 0, 0]),
            ("ptrace traceme", libc::SYS_ptrace, [0; 6]),
            ("memory that is writable and executable", libc::SYS_mmap, [0, 4096, page, 0x22, u64::MAX, 0]),
            ("changing memory to that", libc::SYS_mprotect, [0, 0, page, 0, 0, 0]),
            ("opening to write", libc::SYS_openat, [u64::MAX, 0, libc::O_RDWR as u64, 0, 0, 0]),
            ("becoming undumpable", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0]),
            ("typing", libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0]),
            ("a device", libc::SYS_ioctl, [0, CREATE_DEVICE, 0, 0, 0, 0]),
            ("whose signals", libc::SYS_fcntl, [0, libc::F_SETOWN as u64, 0, 0, 0, 0]),
            ("signal to others", libc::SYS_kill, [other, libc::SIGTERM as u64, 0, 0, 0, 0]),
            ("a signal to all", libc::SYS_kill, [u64::MAX, libc::SIGKILL as u64, 0, 0, 0, 0]),
            ("a signal to a group", libc::SYS_kill, [0, libc::SIGKILL as u64, 0, 0, 0, 0]),
            ("a signal to a thread of others", libc::SYS_tgkill, [other, other, 0, 0, 0, 0]),
            ("reading the memory of others", libc::SYS_process_vm_readv, [other, 0, 0, 0, 0, 0]),
            ("writing the memory of others", libc::SYS_process_vm_writev, [other, 0, 0, 0, 0, 0]),
            ("faults of the kernel's", libc::SYS_userfaultfd, [libc::O_CLOEXEC as u64, 0, 0, 0, 0, 0]),
            ("files of huge pages", libc::SYS_memfd_create, [0, libc::MFD_HUGETLB.into(), 0, 0, 0, 0]),
            ("code of its own", libc::SYS_mmap, [0, 4096, code, 0x22, u64::MAX, 0]),
            ("code of a file", libc::SYS_mmap, [0, 4096, code, libc::MAP_PRIVATE as u64, 0, 0]),
            ("a fork", libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
            ("a namespace", libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
            ("another limit", libc::SYS_prlimit64, [0, libc::RLIMIT_NPROC.into(), 0, 0, 0, 0]),
            ("a limit of others", libc::SYS_prlimit64, [other, libc::RLIMIT_CORE.into(), 0, 0, 0, 0]),
            ("getpid of x32", libc::SYS_getpid | 0x4000_0000, [0; 6]),
        ];
        for duty in Duty::ALL {
            for backend in [Backend::Kvm, Backend::Process] {
                for (what, call, arguments) in cases {
                    let status = status_after(duty, backend, call, arguments);
                    assert!(is_killed(status), "{duty:?}, {backend:?}: {what}: {status:#x}");
                }
            }
        }
    });
}

#[test]
fn a_call_of_32_bits_kills() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::a_call_of_32_bits_kills", || {
        let status = in_a_child(|| {
            if confine::calls(Duty::Run, Backend::Auto).is_err() {
                return UNCONFINED;
            }
            // SAFETY: the call is `getpid`, 20 there, and changes nothing but registers.
            unsafe {
                std::arch::asm!("int 0x80", inlateout("rax") 20_u64 => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
            };
            7
        });
        // Without such calls in the kernel it is an invalid instruction.
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
    });
}

#[test]
fn calls_with_a_rule_are_made_and_the_rest_of_a_duty_is_none_of_anothers() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::calls_with_a_rule_are_made_and_the_rest_of_a_duty_is_none_of_anothers", || {
        for duty in Duty::ALL {
            for backend in [Backend::Kvm, Backend::Process, Backend::Auto] {
                let status = status_after(duty, backend, libc::SYS_getpid, [0; 6]);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{duty:?}: {status:#x}");
            }
        }
        let has = |duty, backend, call| rules::of(duty, backend).any(|rule| rule.call == call);
        assert!(has(Duty::Serve, Backend::Kvm, libc::SYS_accept4));
        assert!(!has(Duty::Worker, Backend::Kvm, libc::SYS_accept4), "threads of a pool serve nobody");
        assert!(!has(Duty::Run, Backend::Kvm, libc::SYS_ptrace), "where there is KVM nothing is traced");
        let runs = |rule: &rules::Rule| {
            rule.call == libc::SYS_ioctl && rule.arguments.contains(&Argument::Is(1, 0xae80))
        };
        assert!(!rules::of(Duty::Run, Backend::Process).any(runs), "without KVM nobody runs VMs");
        for duty in Duty::ALL {
            for call in
                [libc::SYS_execve, libc::SYS_socket, libc::SYS_connect, libc::SYS_bpf, libc::SYS_setuid]
            {
                assert!(!has(duty, Backend::Auto, call), "{duty:?}: {call}");
            }
        }
    });
}

#[test]
fn a_confined_thread_kills_and_others_are_free() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::a_confined_thread_kills_and_others_are_free", || {
        let after = |call: libc::c_long| {
            in_a_child(|| {
                let confined = std::thread::spawn(move || {
                    if confine::calls_of_thread(Duty::Worker, Backend::Process).is_err() {
                        return false;
                    }
                    // SAFETY: neither call takes pointers.
                    unsafe { libc::syscall(call) >= 0 }
                });
                let well = confined.join().unwrap_or(false);
                // SAFETY: the call takes no arguments.
                if well && unsafe { libc::syscall(libc::SYS_getuid) } >= 0 { 7 } else { UNCONFINED }
            })
        };
        let status = after(libc::SYS_gettid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        assert!(is_killed(after(libc::SYS_getuid)));
    });
}

#[test]
fn clone3_is_refused_and_threads_are_made_without() {
    if no_seccomp() {
        return;
    }
    alone("confine::kills::clone3_is_refused_and_threads_are_made_without", || {
        for duty in [Duty::Pool, Duty::Serve, Duty::Worker] {
            for backend in [Backend::Kvm, Backend::Process] {
                let status = in_a_child(|| {
                    if confine::calls(duty, backend).is_err() {
                        return UNCONFINED;
                    }
                    // SAFETY: the call is refused before it looks at its arguments.
                    let made = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
                    let is_refused =
                        made == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS);
                    let thread = std::thread::Builder::new().spawn(|| 7);
                    let ended = thread.map(std::thread::JoinHandle::join);
                    if is_refused && matches!(ended, Ok(Ok(7))) { 7 } else { 1 }
                });
                let is_well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7;
                assert!(is_well, "{duty:?}, {backend:?}: {status:#x}");
            }
        }
    });
}
