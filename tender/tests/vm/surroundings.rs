//! Guests in processes where much is forbidden: they run, or are refused with the reason and the way out. A filter
//! of system calls makes such surroundings.

use crate::not_run::not_run;
use crate::scratch::Scratch;
use crate::support::{coracle, example, output, output_of_copy, run, stderr, stdout};
use coracle_hypercall::exit;
use serde_json::json;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What hello says.
const HELLO: &str = "Hello from a virtual machine of my own!\n";

/// Hello in a process.
fn hello() -> Command {
    run::<&str>(&["--backend", "process"], example("stripped", "hello"), &[])
}

/// Lets these system calls of a command fail: their number, a mask for the lower half of their first argument of
/// which a bit must be set (0: whatever it is), and the error.
fn without<const N: usize>(command: &mut Command, calls: [(libc::c_long, u32, i32); N]) -> &mut Command {
    // SAFETY: between fork and exec this only makes two system calls.
    unsafe { command.pre_exec(move || forbid(&calls)) }
}

/// Lets these system calls of this thread, and of processes that it makes, fail.
pub(crate) fn forbid(calls: &[(libc::c_long, u32, i32)]) -> io::Result<()> {
    const MOST: usize = 64;
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let statement = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, 0, 0); MOST];
    let one = |(call, mask, error): (libc::c_long, u32, i32)| {
        let any = u8::from(mask == 0);
        [
            // The call's number, and the lower half of its first argument (`struct seccomp_data`).
            statement(load, 0, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 3),
            statement(load, 16, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, mask, 0, 1 - any),
            statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0),
        ]
    };
    let (places, _) = program.as_chunks_mut::<5>();
    places.iter_mut().zip(calls).for_each(|(place, call)| *place = one(*call));
    let program = libc::sock_fprog { len: MOST as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is a local that the kernel copies.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[track_caller]
fn runs(command: Command) {
    let ended = output(command);
    assert_eq!((ended.status.code(), &*stdout(&ended)), (Some(0), HELLO), "{}", stderr(&ended));
}

/// Ends as what cannot be started, in one line with these words.
#[track_caller]
fn is_refused(command: Command, words: &[&str]) {
    let ended = output(command);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
    assert!(stdout(&ended).is_empty() && said.lines().count() == 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
}

#[test]
fn guests_run_where_user_namespaces_are_forbidden() {
    /// What of `clone` makes namespaces.
    const NAMESPACES: u32 = 0x7e02_0000;
    let mut command = hello();
    without(
        &mut command,
        [
            (libc::SYS_clone, NAMESPACES, libc::EPERM),
            (libc::SYS_clone3, 0, libc::ENOSYS),
            (libc::SYS_unshare, 0, libc::EPERM),
            (libc::SYS_setns, 0, libc::EPERM),
        ],
    );
    runs(command);
}

#[test]
fn where_tracing_is_forbidden_it_is_said_with_the_way_out() {
    let mut command = hello();
    without(&mut command, [(libc::SYS_ptrace, 0, libc::EPERM)]);
    is_refused(command, &["ptrace", "ptrace_scope", "--cap-add SYS_PTRACE", "Operation not permitted"]);
}

#[test]
fn where_filters_of_system_calls_are_forbidden_it_is_said_with_the_way_out() {
    for error in [libc::EPERM, libc::ENOSYS] {
        let mut command = hello();
        without(&mut command, [(libc::SYS_seccomp, 0, error)]);
        is_refused(command, &["seccomp", "CONFIG_SECCOMP_FILTER", "security-opt"]);
    }
}

/// Makes a command one of `nobody`, who has no capabilities and gets none.
fn as_nobody(command: &mut Command) -> &mut Command {
    const NOBODY: u32 = 65534;
    /// More than there are.
    const CAPABILITIES: std::ops::Range<i32> = 0..64;
    // SAFETY: between fork and exec this only makes system calls.
    unsafe {
        command.pre_exec(|| {
            if libc::geteuid() == 0 {
                CAPABILITIES.for_each(|capability| {
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                });
                if libc::setgroups(0, std::ptr::null()) != 0
                    || libc::setresgid(NOBODY, NOBODY, NOBODY) != 0
                    || libc::setresuid(NOBODY, NOBODY, NOBODY) != 0
                {
                    return Err(io::Error::last_os_error());
                }
            }
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            Ok(())
        })
    }
}

#[test]
fn guests_run_for_a_user_without_capabilities() {
    let scratch = Scratch::new();
    let copy = |name, path| scratch.program(name, &std::fs::read(path).expect("a program"));
    let program = copy("coracle", coracle());
    let image = copy("hello", example("stripped", "hello"));
    let mut command = Command::new(program);
    command.args(["run", "--backend", "process"]).arg(image).stdin(Stdio::null());
    as_nobody(&mut command);
    let ended = output_of_copy(command);
    assert_eq!((ended.status.code(), &*stdout(&ended)), (Some(0), HELLO), "{}", stderr(&ended));
}

/// What a container runtime is told, as Docker tells it: its default capabilities and namespaces, what of /proc
/// and /sys is hidden, and system calls of which none is missing in Docker's default profile.
fn container(root: &Path, arguments: &[&str]) -> serde_json::Value {
    const CAPABILITIES: [&str; 14] = [
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    // What the runtime itself takes on its way to the program, what the tender takes, and what its children take.
    const CALLS: &str = "access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep close close_range \
        copy_file_range dup dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit exit_group \
        faccessat2 fallocate fchdir fchown fcntl fstat fstatfs fsync ftruncate futex getcwd getdents64 getegid geteuid \
        getgid getpgrp getpid getppid getrandom getrlimit gettid getuid ioctl kill landlock_add_rule \
        landlock_create_ruleset landlock_restrict_self lseek lstat madvise memfd_create mmap mprotect mremap munmap \
        nanosleep newfstatat open openat openat2 pidfd_open pipe2 poll ppoll prctl pread64 prlimit64 \
        process_vm_readv process_vm_writev ptrace pwrite64 read readlink readlinkat readv restart_syscall rseq \
        rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield seccomp set_robust_list \
        set_tid_address setgid setgroups setresgid setresuid setsid setuid sigaltstack stat statx tgkill \
        timer_create timer_delete timer_settime tkill uname umask unlink unlinkat wait4 waitid write writev";
    const NAMESPACES: u64 = 0x7e02_0000;
    let calls: Vec<_> = CALLS.split_whitespace().collect();
    let mount = |to: &str, kind: &str, options: &[&str]| json!({ "destination": to, "type": kind, "source": kind, "options": options });
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": root, "readonly": true },
        "hostname": "container",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "args": arguments,
            "env": ["PATH=/"],
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": libc::EPERM,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [
                    { "names": calls, "action": "SCMP_ACT_ALLOW" },
                    { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                      "args": [{ "index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
                    { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                      "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
                    { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS },
                ],
            },
        },
    })
}

/// Runs `coracle` with these arguments in a container that has it, an image and nothing else; `None` where there
/// is no runtime for containers, which is said.
#[track_caller]
fn in_container(image: PathBuf, arguments: &[&str]) -> Option<Output> {
    // SAFETY: the call has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let runtime =
        ["runc", "crun"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    let Some(runtime) = runtime.filter(|_| is_root) else {
        not_run("only root can start containers, with runc or crun (Debian's packages of these names)");
        return None;
    };
    let bundle = Scratch::new();
    let root = bundle.path().join("root");
    std::fs::create_dir_all(root.join("proc")).expect("a folder");
    std::fs::create_dir(root.join("dev")).expect("a folder");
    std::fs::copy(coracle(), root.join("coracle")).expect("a copy");
    std::fs::copy(image, root.join("image")).expect("a copy");
    let arguments = [&["/coracle"], arguments].concat();
    let configuration = serde_json::to_vec(&container(&root, &arguments)).expect("JSON");
    std::fs::write(bundle.path().join("config.json"), configuration).expect("a file");
    let name = bundle.path().file_name().expect("a name").to_owned();
    let mut command = Command::new(runtime);
    command.arg("run").arg("--bundle").arg(bundle.path()).arg(name).stdin(Stdio::null());
    Some(output(command))
}

#[test]
fn guests_run_in_a_container_with_the_profile_that_is_usual() {
    let Some(ended) = in_container(example("stripped", "hello"), &["run", "/image"]) else { return };
    let said = stderr(&ended);
    assert_eq!((ended.status.code(), &*stdout(&ended)), (Some(0), HELLO), "{said}");
    // There is no /dev/kvm in it.
    assert!(said.lines().count() == 1 && said.contains("process") && said.contains("/dev/kvm"), "{said}");
    let quiet = in_container(example("stripped", "hello"), &["run", "--quiet", "/image"]).expect("as before");
    assert_eq!((&*stdout(&quiet), &*stderr(&quiet)), (HELLO, ""));
}

#[test]
fn calls_in_clean_instances_are_made_in_a_container_with_the_profile_that_is_usual() {
    let arguments = ["invoke", "-n", "20", "/image"];
    let Some(ended) = in_container(example("stripped", "handler-echo"), &arguments) else { return };
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
}
