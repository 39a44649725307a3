//! The few pages of the child that are not the guest's: at the very end of its address space, where no guest
//! has anything.
//!
//! ```text
//!   0x0000  code: carries out the steps, and afterwards the one system call at a time that the tender makes
//!   0x0100  the filter, and what else the steps point to
//!   0x0180  the extended state that a guest begins with, as `xsave` stores it
//!   0x0400  the steps, until they are done
//! ```
//!
//! The guest can read it, and jump into it: each system call that it so makes ends it like any other.

use crate::memory::{BEYOND, Memory};
use coracle_hypercall::memory::PAGE;
use std::arch::global_asm;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr;

/// Where Linux ends the address space of a program (TASK_SIZE_MAX, four levels of paging).
pub(super) const END: u64 = (1 << 47) - PAGE;
/// Where it ends it with five levels. What is in between only those programs have who ask for it.
pub(super) const LARGEST_END: u64 = (1 << 56) - PAGE;
/// The bytes of it.
pub(crate) const LENGTH: u64 = BEYOND;
/// Where it begins.
pub(crate) const START: u64 = END - LENGTH;
/// Where the kernel is let to write what it knows of a fault.
pub(super) const FRAME: u64 = START + PAGE;
/// How long that is.
pub(super) const FRAME_LENGTH: u64 = END - FRAME;

const DATA_OFFSET: u64 = 0x100;
const EXTENDED_OFFSET: u64 = 0x180;
const STEPS_OFFSET: u64 = 0x400;

/// Where the words lie that steps point to.
pub(super) const FILTER: u64 = START + DATA_OFFSET;
pub(super) const FILTER_PROGRAM: u64 = FILTER + 8;
pub(super) const SIGNAL_MASK: u64 = FILTER_PROGRAM + 16;
pub(super) const NO_CORE: u64 = SIGNAL_MASK + 8;

/// Which step finds out whether the tender still lives. What is before it must not be refused.
pub(super) const PARENT_STEP: u64 = 1;

/// How many steps there is room for, the last of which ends them.
pub(super) const MOST_STEPS: usize = ((LENGTH - STEPS_OFFSET) / 64) as usize;

/// That a step may have any result.
pub(super) const ANY: u64 = i64::MIN as u64;

/// The number of a call that is made again and again, until a tracer has seen it.
const SYS_READY: libc::c_long = libc::SYS_sched_yield;

global_asm!(
    ".pushsection .rodata.coracle_foothold, \"a\"",
    "coracle_foothold:",
    "    lea rbx, [rip + coracle_foothold + {steps}]",
    "2:  mov rax, [rbx]",
    "    mov rdi, [rbx + 8]",
    "    mov rsi, [rbx + 16]",
    "    mov rdx, [rbx + 24]",
    "    mov r10, [rbx + 32]",
    "    mov r8, [rbx + 40]",
    "    mov r9, [rbx + 48]",
    "    test rax, rax",
    "    js 5f",
    "    syscall",
    "    mov rcx, [rbx + 56]",
    "    cmp rax, rcx",
    "    je 3f",
    "    mov rdx, {any}",
    "    cmp rcx, rdx",
    "    jne 4f",
    "3:  add rbx, 64",
    "    jmp 2b",
    // A step was refused: rbx tells which, r12 why. Who has lost the tender waits for nobody.
    "4:  mov r12, rax",
    "    lea rdx, [rip + coracle_foothold + {orphaned}]",
    "    cmp rbx, rdx",
    "    jne 7f",
    "    mov edi, 1",
    "    mov eax, {exit}",
    "    syscall",
    "7:",
    "    mov eax, {getpid}",
    "    syscall",
    "    mov edi, eax",
    "    mov esi, {stop}",
    "    mov eax, {kill}",
    "    syscall",
    "    jmp 4b",
    // Nothing of the tender is left in the registers of the FPU and vector units.
    "5:  fninit",
    "    mov eax, edi",
    "    xor edx, edx",
    "    test eax, eax",
    "    jz 6f",
    "    xrstor64 [rip + coracle_foothold + {extended}]",
    "    jmp coracle_foothold_call",
    "6:  fxrstor64 [rip + coracle_foothold + {extended}]",
    // The filter is in force. Until there is a tracer, the call fails; with one, it stops.
    "coracle_foothold_call:",
    "    mov eax, {ready}",
    "coracle_foothold_syscall:",
    "    syscall",
    "    jmp coracle_foothold_call",
    "coracle_foothold_end:",
    ".popsection",
    steps = const STEPS_OFFSET,
    extended = const EXTENDED_OFFSET,
    any = const ANY as i64,
    orphaned = const STEPS_OFFSET + 64 * PARENT_STEP,
    exit = const libc::SYS_exit_group,
    getpid = const libc::SYS_getpid,
    kill = const libc::SYS_kill,
    stop = const libc::SIGSTOP,
    ready = const SYS_READY,
);

unsafe extern "C" {
    static coracle_foothold: u8;
    static coracle_foothold_syscall: u8;
    static coracle_foothold_end: u8;
}

/// The address of the instruction by which the tender makes system calls in the child.
pub(super) fn syscall_instruction() -> u64 {
    START + ((&raw const coracle_foothold_syscall).addr() - (&raw const coracle_foothold).addr()) as u64
}

fn code() -> &'static [u8] {
    let start = &raw const coracle_foothold;
    let length = (&raw const coracle_foothold_end).addr() - start.addr();
    // SAFETY: both labels bound the bytes assembled above, which are read-only data.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// A system call that the child makes of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// What it is for, after "cannot".
    pub(super) doing: &'static str,
    /// Its number, arguments, and the result that it must have.
    pub(super) words: [u64; 8],
}

impl Step {
    pub(super) fn new<const N: usize>(
        doing: &'static str,
        number: libc::c_long,
        arguments: [u64; N],
        expected: u64,
    ) -> Step {
        let mut words = [0; 8];
        let given = [number as u64].into_iter().chain(arguments);
        words.iter_mut().take(7).zip(given).for_each(|(word, given)| *word = given);
        words[7] = expected;
        Step { doing, words }
    }
}

/// Whether programs of this machine can have memory beyond.
pub(super) fn is_below_the_end() -> bool {
    const KIND: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let last = ptr::without_provenance_mut((LARGEST_END - PAGE) as usize);
    let length = PAGE as usize;
    // SAFETY: nothing that there is is replaced, and what was mapped is unmapped at once.
    unsafe {
        match libc::mmap(last, length, libc::PROT_NONE, KIND | libc::MAP_NORESERVE, -1, 0) {
            libc::MAP_FAILED => io::Error::last_os_error().kind() == io::ErrorKind::AlreadyExists,
            found => {
                libc::munmap(found, length);
                found == last
            }
        }
    }
}

/// Which step an address in the foothold is of.
pub(super) fn step_at(address: u64) -> usize {
    (address.saturating_sub(START + STEPS_OFFSET) / 64) as usize
}

/// Writes it, with the steps and the state components that the guest has, into the file behind the guest's
/// memory, at the end of that.
pub(super) fn write(memory: &Memory, steps: &[Step], xcr0: u64) -> io::Result<()> {
    /// BPF_RET | BPF_K, with SECCOMP_RET_TRACE (seccomp(2)).
    const TRACE_ALL: u64 = 0x06 | 0x7ff0_0000 << 32;
    /// MXCSR with all exceptions masked.
    const MXCSR: (usize, u32) = (24, 0x1f80);
    if steps.len() >= MOST_STEPS {
        return Err(io::Error::other("the guest's memory is in too many pieces"));
    }
    let mut bytes = vec![0; STEPS_OFFSET as usize];
    put(&mut bytes, 0, code());
    for (address, word) in [
        (FILTER, TRACE_ALL),
        (FILTER_PROGRAM, 1),
        (FILTER_PROGRAM + 8, FILTER),
        (SIGNAL_MASK, all_but_those_of_the_cpu()),
    ] {
        put(&mut bytes, (address - START) as usize, &word.to_le_bytes());
    }
    put(&mut bytes, EXTENDED_OFFSET as usize + MXCSR.0, &MXCSR.1.to_le_bytes());
    let end = Step::new("", -1, [xcr0], 0);
    for step in steps.iter().chain([&end]) {
        bytes.extend(step.words.iter().flat_map(|word| word.to_le_bytes()));
    }
    let file = memory.file().ok_or(io::ErrorKind::InvalidInput)?;
    file.write_all_at(&bytes, memory.size())
}

/// Leaves the code alone, when all steps are done.
pub(super) fn clear(memory: &Memory, steps: usize) -> io::Result<()> {
    let file = memory.file().ok_or(io::ErrorKind::InvalidInput)?;
    let length = STEPS_OFFSET - DATA_OFFSET + 64 * (steps as u64 + 1);
    file.write_all_at(&vec![0; length as usize], memory.size() + DATA_OFFSET)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// A signal mask as the kernel takes it.
fn all_but_those_of_the_cpu() -> u64 {
    let own = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
    own.into_iter().fold(u64::MAX, |mask, signal| mask & !(1 << (signal - 1)))
}

#[cfg(test)]
mod tests {
    use super::{DATA_OFFSET, EXTENDED_OFFSET, STEPS_OFFSET, code, syscall_instruction};

    #[test]
    fn the_code_ends_before_the_data() {
        assert!(code().len() as u64 <= DATA_OFFSET);
        const { assert!(EXTENDED_OFFSET.is_multiple_of(64) && EXTENDED_OFFSET + 576 <= STEPS_OFFSET) };
    }

    #[test]
    fn the_instruction_for_system_calls_is_one() {
        let at = (syscall_instruction() - super::START) as usize;
        assert_eq!(code()[at..at + 2], [0x0f, 0x05]);
    }
}
