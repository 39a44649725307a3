//! The rules for what is done around guests: streams, files, threads, HTTP.

use super::Argument::{Any, Is, Null};
use super::Duty::{Pool, Run, Serve, Snapshot, Worker};
use super::guests::FILE;
use super::{List, TO_READ, first, refused, rule, second};
use crate::machine::Backend;
use libc::*;

/// Streams of the process, and its end.
pub(super) const COMMAND: List = List {
    name: "a command's streams",
    duties: &[Run],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_readv, Any, "standard input, straight into guest memory"),
        rule(SYS_writev, Any, "standard output, straight from guest memory"),
        rule(SYS_poll, Any, "waiting until messages are taken"),
        rule(SYS_fcntl, second(F_SETPIPE_SZ as u64), "larger pipes for large pieces"),
    ],
};

/// What only `run` has: a file that is opened when a guest has crashed.
pub(super) const SYMBOLS: List = List {
    name: "crash reports",
    duties: &[Run],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_openat, TO_READ, "the file of --symbols, which landlock lets through"),
        rule(SYS_memfd_create, second(FILE), "the image within a snapshot"),
        rule(SYS_pwrite64, Any, "the same"),
        rule(SYS_ftruncate, Any, "the same"),
    ],
};

/// What taking a snapshot takes besides.
pub(super) const SAVE: List = List {
    name: "writing a snapshot",
    duties: &[Snapshot],
    backend: Backend::Auto,
    rules: &[
        rule(
            SYS_openat,
            Is(2, (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC) as u64),
            "a new file, in the folder that landlock lets through",
        )
        .rarely("where the file system has no files without names"),
        rule(
            SYS_openat,
            Is(2, (O_WRONLY | O_TMPFILE | O_CLOEXEC) as u64),
            "the same, without a name until it is complete",
        ),
        rule(SYS_linkat, Any, "its name then"),
        rule(SYS_fsync, Any, "its safety"),
        rule(SYS_rename, Any, "its name, in place of another file"),
        rule(SYS_unlink, Any, "its removal when it is not").rarely("when it cannot be written"),
    ],
};

/// The flags of clone(2) with which the C library makes threads.
const OF_THREADS: u64 = (CLONE_VM
    | CLONE_FS
    | CLONE_FILES
    | CLONE_SIGHAND
    | CLONE_THREAD
    | CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_CLEARTID) as u64;

/// When the C library wants to know of the kernel's settings.
const SETTINGS: &str = "when the allocator has many arenas, or one to shrink";

/// Threads.
pub(super) const THREADS: List = List {
    name: "threads",
    duties: &[Pool, Serve, Worker],
    backend: Backend::Auto,
    rules: &[
        // Its flags are in memory, where no filter looks. The C library then goes on with clone.
        refused(SYS_clone3, ENOSYS, "threads"),
        rule(SYS_clone, first(OF_THREADS), "the same"),
        rule(
            SYS_openat,
            TO_READ,
            "settings of the kernel, for the C library's allocator; the lists of pages of processes for guests, in /proc",
        )
        .rarely(SETTINGS),
        rule(SYS_read, Any, "the same, and a counter of wake-ups that is full").rarely(SETTINGS),
        rule(SYS_set_robust_list, Any, "threads"),
        rule(SYS_rseq, Any, "threads"),
        rule(SYS_sigaltstack, Any, "threads"),
        rule(SYS_exit, Any, "their end"),
        rule(SYS_prctl, first(PR_SET_NAME as u64), "their names"),
        rule(SYS_sched_getaffinity, Any, "where their stacks are"),
    ],
};

/// Progress.
pub(super) const TERMINAL: List = List {
    name: "progress on a terminal",
    duties: &[Pool],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_ioctl, second(TCGETS), "whether there is a terminal"),
        rule(SYS_ioctl, second(TIOCGWINSZ), "how wide it is").rarely("where there is one, after a second"),
    ],
};

/// What a server takes to confine threads further. Where guests are processes, these have such rules.
pub(super) const CONFINE: List = List {
    name: "confining threads",
    duties: &[Serve],
    backend: Backend::Kvm,
    rules: &[
        rule(SYS_prctl, first(PR_SET_NO_NEW_PRIVS as u64), "no new privileges"),
        rule(
            SYS_seccomp,
            first(SECCOMP_SET_MODE_FILTER as u64),
            "a filter for a thread that only runs guests",
        )
        .and(second(0)),
    ],
};

/// What answering HTTP takes besides.
pub(super) const SERVE: List = List {
    name: "HTTP",
    duties: &[Serve],
    backend: Backend::Auto,
    rules: &[
        rule(SYS_accept4, Any, "connections"),
        rule(SYS_recvfrom, Any, "requests"),
        // To who is connected: a datagram could go to any socket that has a path.
        rule(SYS_sendto, Null(4), "responses"),
        rule(SYS_writev, Any, "responses"),
        rule(SYS_shutdown, Any, "the end of a connection"),
        rule(SYS_setsockopt, Any, "responses without delay"),
        rule(SYS_getsockname, Any, "the address that is listened on"),
        rule(SYS_socketpair, first(AF_UNIX as u64), "what signals are told through")
            .and(second((SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK) as u64)),
        rule(SYS_fcntl, second(F_GETFL as u64), "connections that do not block")
            .rarely("where tokio looks at that, in debug builds"),
        rule(SYS_ioctl, second(FIONBIO), "connections that do not block"),
        rule(SYS_epoll_create1, Any, "waiting for many connections"),
        rule(SYS_epoll_ctl, Any, "waiting for many connections"),
        rule(SYS_epoll_wait, Any, "waiting for many connections"),
        rule(SYS_eventfd2, Any, "waking who waits"),
        rule(SYS_clock_nanosleep, Any, "collecting what is logged; the time between two layouts"),
    ],
};
