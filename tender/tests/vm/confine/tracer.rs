//! Follows a command and its threads by ptrace(2), and shows the system calls that they make once they are
//! confined. The processes of guests are let go: the tender traces those itself.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A system call: its number and arguments.
pub(super) type Call = (u64, [u64; 6]);

/// What PTRACE_GET_SYSCALL_INFO fills in (Linux, include/uapi/linux/ptrace.h), of which a call's end has
/// less.
#[repr(C)]
#[derive(Default)]
struct Information {
    kind: u8,
    _padding: [u8; 3],
    _architecture: u32,
    _instruction: u64,
    _stack: u64,
    number: u64,
    arguments: [u64; 6],
}

const ENTRY: u8 = 1;
const EXIT: u8 = 2;

fn request(what: libc::c_uint, task: libc::pid_t, address: u64, data: u64) -> io::Result<u64> {
    // SAFETY: the requests that this module makes write to locals whose address they are given.
    match unsafe { libc::ptrace(what, task, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer as u64),
    }
}

/// Starts a command, which `meanwhile` may talk to, and follows it to its end. The command must be let talk by
/// pipes that `meanwhile` serves on another thread: this one does nothing but follow.
pub(super) fn follow(
    command: &mut Command,
    meanwhile: impl FnOnce(&mut Child),
    mut saw: impl FnMut(&Call),
) -> i32 {
    // SAFETY: between fork and exec this only makes one request without pointers.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().expect("coracle starts");
    let process = child.id() as libc::pid_t;
    let (_, status) = wait(process).expect("it stops");
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, process, 0, options as u64).expect("it is traced");
    meanwhile(&mut child);
    let mut follower = Follower {
        process,
        confined: HashSet::new(),
        known: HashSet::from([process]),
        entered: HashSet::new(),
    };
    resume(process, 0);
    let status = loop {
        let (task, status) = wait(-1).expect("it stops or ends");
        if !libc::WIFSTOPPED(status) {
            if task == process {
                break status;
            }
            continue;
        }
        let signal = follower.stopped(task, status, &mut saw);
        resume(task, signal);
    };
    // It has been waited for.
    std::mem::forget(child);
    status
}

fn wait(task: libc::pid_t) -> io::Result<(libc::pid_t, i32)> {
    /// Only of this thread's: other tests have children too.
    const NO_THREAD: i32 = 0x2000_0000;
    let mut status = 0;
    // SAFETY: the status is a local.
    match unsafe { libc::waitpid(task, &mut status, libc::__WALL | NO_THREAD) } {
        -1 => Err(io::Error::last_os_error()),
        found => Ok((found, status)),
    }
}

/// One that has ended meanwhile says so next.
fn resume(task: libc::pid_t, signal: i32) {
    let _ = request(libc::PTRACE_SYSCALL, task, 0, signal as u64);
}

struct Follower {
    process: libc::pid_t,
    /// Tasks that are confined.
    confined: HashSet<libc::pid_t>,
    known: HashSet<libc::pid_t>,
    /// Tasks that install a filter for all of them, or for themselves.
    entered: HashSet<libc::pid_t>,
}

impl Follower {
    /// Looks why a task stopped, and answers the signal that it goes on with.
    fn stopped(&mut self, task: libc::pid_t, status: i32, saw: &mut impl FnMut(&Call)) -> i32 {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        match event {
            libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                self.made(task);
                0
            }
            0 if signal == libc::SIGTRAP | 0x80 => {
                self.call(task, saw);
                0
            }
            // New threads begin with it.
            0 if signal == libc::SIGSTOP && self.known.insert(task) => 0,
            0 => signal,
            _ => 0,
        }
    }

    /// A task has made another.
    fn made(&mut self, task: libc::pid_t) {
        let mut new = 0_u64;
        request(libc::PTRACE_GETEVENTMSG, task, 0, (&raw mut new).addr() as u64).expect("its number");
        let new = new as libc::pid_t;
        if std::fs::exists(format!("/proc/{}/task/{new}", self.process)).unwrap_or(false) {
            if self.confined.contains(&task) {
                self.confined.insert(new);
            }
            return;
        }
        // Before the tender goes on, which traces it itself.
        wait(new).expect("a new process stops");
        request(libc::PTRACE_DETACH, new, 0, 0).expect("it is let go");
    }

    fn call(&mut self, task: libc::pid_t, saw: &mut impl FnMut(&Call)) {
        let mut found = Information::default();
        let size = size_of::<Information>() as u64;
        let asked = request(libc::PTRACE_GET_SYSCALL_INFO, task, size, (&raw mut found).addr() as u64);
        if asked.is_err() {
            return;
        }
        // The first filter is for all threads.
        let filters = |number: u64, first: u64| {
            number == libc::SYS_seccomp as u64 && first == u64::from(libc::SECCOMP_SET_MODE_FILTER)
        };
        match found.kind {
            ENTRY => {
                if self.confined.contains(&task) {
                    saw(&(found.number, found.arguments));
                }
                if filters(found.number, found.arguments[0]) {
                    self.entered.insert(task);
                }
            }
            // The result stands where an entry has its number.
            EXIT if self.entered.remove(&task) && found.number == 0 => {
                let tasks =
                    std::fs::read_dir(format!("/proc/{}/task", self.process)).expect("threads").flatten();
                self.confined
                    .extend(tasks.filter_map(|task| task.file_name().to_str()?.parse::<libc::pid_t>().ok()));
            }
            _ => {}
        }
    }
}
