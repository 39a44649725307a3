//! The requests of ptrace(2) to one child, all of them by the thread that has it.

use super::foothold;
use super::registers::{self, UserRegisters};
use crate::forks::Process;
use std::io;
use std::ptr;

/// How the child stopped, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It got a signal. Programs send those of the CPU too.
    Signal(i32),
    /// It is about to make a system call.
    SystemCall,
    /// It has made the system call that it was let make, or was about to make one as a guest.
    SystemCallDone,
    /// It was told to stop.
    Interrupted,
    /// It is no more, for this status (wait(2)).
    Ended(i32),
}

/// A child that this thread traces. It is killed and reaped when this is dropped.
#[derive(Debug)]
pub(super) struct Tracee {
    process: libc::pid_t,
    ended: bool,
    /// The process that has made it. A fork of that has neither the child nor a say in its life.
    maker: Process,
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end();
    }
}

impl Tracee {
    /// Begins to trace a new child.
    pub(super) fn seize(process: libc::pid_t) -> io::Result<Tracee> {
        let tracee = Tracee { process, ended: false, maker: Process::this() };
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_TRACESYSGOOD;
        tracee.request(libc::PTRACE_SEIZE, 0, options as u64)?;
        Ok(tracee)
    }

    /// Its number.
    pub(super) fn process(&self) -> libc::pid_t {
        self.process
    }

    /// Kills it, and waits until nothing of it is left.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) || !self.maker.is_this() {
            return;
        }
        // SAFETY: the child has not been waited for, so that its number is its own. The status is a local.
        unsafe {
            libc::kill(self.process, libc::SIGKILL);
            let mut status = 0;
            while libc::waitpid(self.process, &mut status, libc::__WALL) == -1 && is_interrupted()
                || libc::WIFSTOPPED(status)
            {
                status = 0;
            }
        }
    }

    /// One request of ptrace(2), of those that take numbers.
    fn request(&self, request: libc::c_uint, address: u64, data: u64) -> io::Result<()> {
        // SAFETY: these requests touch no memory of this process.
        match unsafe { libc::ptrace(request, self.process, address, data) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Lets it go on until it makes a system call, which the filter shows, or gets a signal.
    pub(super) fn go_on(&self) -> io::Result<()> {
        self.request(libc::PTRACE_CONT, 0, 0)
    }

    /// Lets the guest go on. Of its system calls none is made, even those that filters do not see (Linux shows
    /// those of its own uprobes to none).
    pub(super) fn run_guest(&self) -> io::Result<()> {
        self.request(libc::PTRACE_SYSEMU, 0, 0)
    }

    /// Lets it make the system call at which it stopped.
    pub(super) fn let_call(&self) -> io::Result<()> {
        self.request(libc::PTRACE_SYSCALL, 0, 0)
    }

    /// Lets the guest go on for one instruction, which is no system call.
    pub(super) fn step_guest(&self) -> io::Result<()> {
        self.request(libc::PTRACE_SYSEMU_SINGLESTEP, 0, 0)
    }

    /// Has the kernel begin its handler for the signal with which it stopped, of which no instruction runs.
    pub(super) fn deliver(&self, signal: i32) -> io::Result<()> {
        self.request(libc::PTRACE_SINGLESTEP, 0, signal as u64)
    }

    /// Waits until it stops. Kicks of this thread interrupt it: so there is no end to wait for without.
    ///
    /// # Errors
    /// ECHILD where another part of this process has waited for any child and was told instead. Of a stop nobody
    /// tells twice: it is noticed when this thread is kicked.
    pub(super) fn wait(&mut self) -> io::Result<Stop> {
        let mut status = 0;
        let mut flags = libc::__WALL;
        loop {
            // SAFETY: the status is a local.
            let waited = unsafe { libc::waitpid(self.process, &mut status, flags) };
            match waited {
                -1 if is_interrupted() => {
                    // One that is stopped has something to tell.
                    let is_stopped = self.registers().is_ok();
                    flags = if is_stopped { libc::__WALL | libc::WNOHANG } else { libc::__WALL };
                }
                -1 => {
                    let error = io::Error::last_os_error();
                    // Its number may be another's.
                    self.ended |= error.raw_os_error() == Some(libc::ECHILD);
                    return Err(error);
                }
                0 => return Err(io::Error::from_raw_os_error(libc::ECHILD)),
                _ => break,
            }
        }
        if !libc::WIFSTOPPED(status) {
            self.ended = true;
            return Ok(Stop::Ended(status));
        }
        Ok(match (libc::WSTOPSIG(status), status >> 16) {
            (_, libc::PTRACE_EVENT_SECCOMP) => Stop::SystemCall,
            (_, libc::PTRACE_EVENT_STOP) => Stop::Interrupted,
            (signal, _) if signal == libc::SIGTRAP | 0x80 => Stop::SystemCallDone,
            (signal, _) => Stop::Signal(signal),
        })
    }

    /// Its registers.
    pub(super) fn registers(&self) -> io::Result<UserRegisters> {
        let mut registers = registers::zero();
        // SAFETY: the kernel fills the structure, a local.
        match unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.process, 0, &raw mut registers) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(registers),
        }
    }

    /// Gives it registers but for the data segments. A system call at which it stopped, or from which it returns,
    /// is none any more.
    pub(super) fn set_registers(&self, registers: &UserRegisters) -> io::Result<()> {
        self.set(registers, registers::BEFORE_SEGMENTS)
    }

    /// Gives it all registers. A selector that is null is 0, and bases are in the lower half of the address space:
    /// the kernel takes no others from a tracer, though a program may load them.
    pub(super) fn set_all_registers(&self, registers: &UserRegisters) -> io::Result<()> {
        self.set(registers, size_of::<UserRegisters>())
    }

    fn set(&self, registers: &UserRegisters, length: usize) -> io::Result<()> {
        /// NT_PRSTATUS (Linux, include/uapi/linux/elf.h).
        const GENERAL: libc::c_int = 1;
        let mut registers = UserRegisters { orig_rax: u64::MAX, ..*registers };
        let mut vector = libc::iovec { iov_base: (&raw mut registers).cast(), iov_len: length };
        // SAFETY: the kernel reads so much of the structure, a local, and of it there is at least that.
        match unsafe { libc::ptrace(libc::PTRACE_SETREGSET, self.process, GENERAL, &raw mut vector) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// What the kernel tells of the signal with which it stopped, where the CPU has led to it: `si_code` and
    /// `si_addr`. `None` for one that was sent.
    pub(super) fn of_the_cpu(&self, signal: i32) -> io::Result<Option<(i32, u64)>> {
        if !super::fault::is_of_the_cpu(signal) {
            return Ok(None);
        }
        // SAFETY: the kernel fills the structure, a local.
        let information = unsafe {
            let mut information: libc::siginfo_t = std::mem::zeroed();
            match libc::ptrace(libc::PTRACE_GETSIGINFO, self.process, 0, &raw mut information) {
                -1 => return Err(io::Error::last_os_error()),
                _ => information,
            }
        };
        // SAFETY: all signals of the CPU have the address, and it is some number in others.
        let address = unsafe { information.si_addr() }.addr() as u64;
        Ok(is_raised(&information).then_some((information.si_code, address)))
    }

    /// Whether it has a signal of the CPU to get still. An interruption comes before that.
    pub(super) fn has_fault(&self) -> io::Result<bool> {
        const MANY: usize = 16;
        // Those that others have sent, and that it has blocked, stay there.
        for off in (0_u64..).step_by(MANY) {
            let wanted = libc::ptrace_peeksiginfo_args { off, flags: 0, nr: MANY as i32 };
            // SAFETY: zero is a value of all fields.
            let mut found: [libc::siginfo_t; MANY] = unsafe { std::mem::zeroed() };
            let arguments = (&raw const wanted, found.as_mut_ptr());
            // SAFETY: the kernel reads the arguments and fills at most so many structures, both of which are locals.
            let count =
                unsafe { libc::ptrace(libc::PTRACE_PEEKSIGINFO, self.process, arguments.0, arguments.1) };
            let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
            if found.iter().take(count).any(is_raised) {
                return Ok(true);
            }
            if count < MANY {
                break;
            }
        }
        Ok(false)
    }

    /// A word of its memory.
    pub(super) fn peek(&self, address: u64) -> io::Result<u64> {
        let mut word = 0_u64;
        // The request itself, unlike its wrapper in C, stores the word and answers 0.
        // SAFETY: the kernel stores the word in a local.
        let answer = unsafe {
            libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, self.process, address, &raw mut word)
        };
        if answer == 0 { Ok(word) } else { Err(io::Error::last_os_error()) }
    }

    /// Writes a word of its memory.
    pub(super) fn poke(&self, address: u64, word: u64) -> io::Result<()> {
        self.request(libc::PTRACE_POKEDATA, address, word)
    }

    /// The extended state, as `xsave` stores it.
    pub(super) fn extended_state(&self) -> io::Result<Vec<u8>> {
        /// NT_X86_XSTATE (Linux, include/uapi/linux/elf.h).
        const XSTATE: libc::c_int = 0x202;
        let mut bytes = vec![0; 16 << 10];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the kernel fills no more than the vector's length, and sets that to what it filled.
        let answer = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.process, XSTATE, &raw mut vector) };
        if answer == -1 {
            return Err(io::Error::last_os_error());
        }
        bytes.truncate(vector.iov_len);
        Ok(bytes)
    }

    /// Makes a system call in the stopped child, whose registers are different ones afterwards.
    pub(super) fn call<const N: usize>(
        &mut self,
        number: libc::c_long,
        arguments: [u64; N],
    ) -> io::Result<u64> {
        let mut given = [0; 6];
        given.iter_mut().zip(arguments).for_each(|(place, argument)| *place = argument);
        let [rdi, rsi, rdx, r10, r8, r9] = given;
        let registers = UserRegisters {
            rip: foothold::syscall_instruction(),
            rax: number as u64,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            rsp: foothold::START,
            ..registers::user_segments(registers::zero())
        };
        self.set_registers(&registers)?;
        self.go_on()?;
        self.expect(Stop::SystemCall)?;
        self.let_call()?;
        self.expect(Stop::SystemCallDone)?;
        match self.registers()?.rax as i64 {
            error @ -4095..0 => Err(io::Error::from_raw_os_error(-error as i32)),
            result => Ok(result as u64),
        }
    }

    /// Waits for a stop. Who has kicked it meanwhile has left word of that elsewhere.
    fn expect(&mut self, wanted: Stop) -> io::Result<()> {
        loop {
            match self.wait()? {
                stop if stop == wanted => return Ok(()),
                Stop::Interrupted => {}
                // Signals that others send are not for it.
                Stop::Signal(signal) if self.of_the_cpu(signal)?.is_none() => {}
                stop => return Err(io::Error::other(format!("it came back otherwise: {stop:?}"))),
            }
            if wanted == Stop::SystemCall { self.go_on()? } else { self.let_call()? }
        }
    }
}

/// Whether the kernel has raised a signal for what the CPU told it. Those that are sent have other codes.
fn is_raised(information: &libc::siginfo_t) -> bool {
    information.si_code > 0 && super::fault::is_of_the_cpu(information.si_signo)
}

fn is_interrupted() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

/// Tells a child of this thread to stop, wherever it is. May be called in a signal handler.
pub(crate) fn interrupt(process: libc::pid_t) {
    // SAFETY: the request touches no memory. What the handler interrupts finds errno as it was.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::ptrace(libc::PTRACE_INTERRUPT, process, ptr::null_mut::<u8>(), ptr::null_mut::<u8>());
        *errno = before;
    }
}
