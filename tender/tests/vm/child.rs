//! A `coracle run` that is watched while it runs.

use std::io::{BufRead, BufReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// More than anything that a test waits for takes, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// System calls of Linux in which a tender waits for the outside world.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blocked {
    Reading = libc::SYS_readv as isize,
    Writing = libc::SYS_writev as isize,
    Polling = libc::SYS_ppoll as isize,
    /// The tender itself writes.
    Saying = libc::SYS_write as isize,
}

/// Lets a command start with all signals blocked.
pub(crate) fn block_signals(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec this only changes which signals are blocked.
    unsafe {
        command.pre_exec(|| {
            let mut all = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
            Ok(())
        })
    }
}

/// A running command with a pipe from its standard output. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("coracle starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, output }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if that is a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    /// Its standard error, if that is a pipe.
    pub(crate) fn error(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("a pipe")
    }

    /// The next line of its output, without the line's end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("output is text");
        line.trim_end_matches('\n').to_owned()
    }

    /// So many bytes of its output.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.output.read_exact(&mut bytes).expect("that much output");
        bytes
    }

    /// The rest of its output.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.output.read_to_end(&mut bytes).expect("output can be read");
        bytes
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the process is a child that has not been waited for, so that its number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Returns when it sleeps in a system call.
    pub(crate) fn wait_until(&self, blocked: Blocked) {
        let path = format!("/proc/{}/syscall", self.child.id());
        let wanted = format!("{} ", blocked as isize);
        let begin = Instant::now();
        while !std::fs::read_to_string(&path).is_ok_and(|call| call.starts_with(&wanted)) {
            assert!(begin.elapsed() < PATIENCE, "the guest is never {blocked:?}");
            std::thread::yield_now();
        }
    }

    /// Closes its output, and waits for its end.
    pub(crate) fn unheard(mut self) -> ExitStatus {
        // The pipe's other end goes with the reader.
        let (empty, _) = std::io::pipe().expect("a pipe");
        let empty = ChildStdout::from(OwnedFd::from(empty));
        drop(std::mem::replace(&mut self.output, BufReader::new(empty)));
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(self) -> ExitStatus {
        self.ended_within(PATIENCE)
    }

    /// Fails if it does not end in this time.
    pub(crate) fn ended_within(mut self, limit: Duration) -> ExitStatus {
        drop(self.child.stdin.take());
        assert!(self.ends_within(limit), "still running after {limit:?}");
        self.child.wait().expect("it can be waited for")
    }

    fn ends_within(&self, limit: Duration) -> bool {
        // SAFETY: the call takes two numbers and gives a new descriptor.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, self.child.id(), 0) };
        assert!(descriptor >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let process = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
        let mut entry = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, a local.
        unsafe { libc::poll(&mut entry, 1, i32::try_from(limit.as_millis()).expect("a short time")) == 1 }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
