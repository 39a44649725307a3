//! What the kernel tells of a fault: all that it knows, it writes only into the frame of a signal handler
//! (Linux, arch/x86/include/uapi/asm/sigcontext.h). So a guest that has faulted for good is given one, of
//! which no instruction runs.

use super::foothold;
use super::registers::{UserRegisters, user_segments};
use super::tracee::{Stop, Tracee};
use std::io;
use x86_64::structures::idt::{ExceptionVector, PageFaultErrorCode};

/// `si_code` of what has no code of its own, such as a general-protection fault.
pub(super) const SI_KERNEL: i32 = 0x80;

/// Signals by which Linux tells of exceptions.
pub(super) fn is_of_the_cpu(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP)
}

/// An exception as the CPU knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) vector: u8,
    pub(super) error_code: u64,
    pub(super) address: u64,
}

/// Offsets in the frame on the stack: a return address, then `struct ucontext`, whose registers follow 40
/// bytes; of those the 18th to the 20th.
const CONTEXT: u64 = 8 + 40;
const ERROR_CODE: u64 = CONTEXT + 19 * 8;
const VECTOR: u64 = CONTEXT + 20 * 8;
const CR2: u64 = CONTEXT + 22 * 8;

/// What exception it was that stopped the child with `signal`, which has these registers. It does not go on
/// afterwards.
pub(super) fn exception(tracee: &mut Tracee, signal: i32, registers: &UserRegisters) -> Exception {
    let (code, address) = tracee.of_the_cpu(signal).ok().flatten().unwrap_or_default();
    let likely = likely(signal, code, address);
    // A trap is not met once more; but there is nothing more to know of it.
    if signal == libc::SIGTRAP {
        return likely;
    }
    from_frame(tracee, signal, registers).unwrap_or(likely)
}

/// What the signal alone tells.
fn likely(signal: i32, code: i32, address: u64) -> Exception {
    /// FPE_INTDIV.
    const INTEGER_DIVISION: i32 = 1;
    let (vector, error_code) = match (signal, code) {
        (libc::SIGTRAP, SI_KERNEL) => (ExceptionVector::Breakpoint, 0),
        (libc::SIGTRAP, _) => (ExceptionVector::Debug, 0),
        (libc::SIGILL, _) => (ExceptionVector::InvalidOpcode, 0),
        (libc::SIGFPE, INTEGER_DIVISION) => (ExceptionVector::Division, 0),
        (libc::SIGFPE, _) => (ExceptionVector::SimdFloatingPoint, 0),
        (libc::SIGBUS, libc::BUS_ADRALN) => (ExceptionVector::AlignmentCheck, 0),
        (libc::SIGSEGV, SI_KERNEL) => (ExceptionVector::GeneralProtection, 0),
        _ => (ExceptionVector::Page, PageFaultErrorCode::USER_MODE.bits()),
    };
    Exception { vector: vector as u8, error_code, address }
}

/// Has the guest meet the exception once more, at the same instruction, and the kernel begin a handler.
fn from_frame(tracee: &mut Tracee, signal: i32, registers: &UserRegisters) -> io::Result<Exception> {
    const RIGHTS: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    const KIND: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
    /// SA_RESTORER, without which the kernel begins no handler.
    const RESTORER: u64 = 0x0400_0000;
    let room = [foothold::FRAME, foothold::FRAME_LENGTH, RIGHTS, KIND, u64::MAX, 0];
    tracee.call(libc::SYS_mmap, room)?;
    // The kernel's structure: handler, flags, restorer, mask.
    let action = [foothold::START, RESTORER, foothold::START, 0];
    for (address, word) in (foothold::FRAME..).step_by(8).zip(action) {
        tracee.poke(address, word)?;
    }
    tracee.call(libc::SYS_rt_sigaction, [signal as u64, foothold::FRAME, 0, 8])?;
    tracee.set_registers(registers)?;
    loop {
        tracee.step_guest()?;
        match tracee.wait()? {
            // Who kicks has left word of that elsewhere, and signals that others send are not for it.
            Stop::Interrupted => {}
            Stop::Signal(sent) if tracee.of_the_cpu(sent)?.is_none() => {}
            Stop::Signal(again) if again == signal => break,
            // The instruction did not fault once more, and no other runs.
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let stack = foothold::FRAME + foothold::FRAME_LENGTH;
    tracee.set_registers(&UserRegisters { rsp: stack, ..user_segments(*registers) })?;
    tracee.deliver(signal)?;
    // Where it is interrupted, that comes first; whether there is a frame, the stack pointer tells.
    if !matches!(tracee.wait()?, Stop::Signal(libc::SIGTRAP) | Stop::Interrupted) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let frame = tracee.registers()?.rsp;
    if !(foothold::FRAME..stack).contains(&frame) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Exception {
        vector: u8::try_from(tracee.peek(frame + VECTOR)?).map_err(io::Error::other)?,
        error_code: tracee.peek(frame + ERROR_CODE)?,
        address: tracee.peek(frame + CR2)?,
    })
}
