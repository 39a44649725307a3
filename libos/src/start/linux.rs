//! The four Linux system calls that a program needs to hand itself to the tender.
//!
//! Only a program that Linux itself started comes here; in a virtual machine there is no Linux.

use core::arch::asm;
use core::ffi::{CStr, c_char};

/// Why Linux refused, as its errno.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(isize);

impl Errno {
    const NO_ENTRY: Errno = Errno(2);
    const IO: Errno = Errno(5);
    const NO_EXEC_FORMAT: Errno = Errno(8);
    const ACCESS: Errno = Errno(13);
    const NOT_A_DIRECTORY: Errno = Errno(20);
    const LOOP: Errno = Errno(40);

    /// What to tell a person.
    pub(super) fn words(self) -> &'static str {
        match self {
            Errno::NO_ENTRY | Errno::NOT_A_DIRECTORY => "there is no such file",
            Errno::IO => "it cannot be read",
            Errno::NO_EXEC_FORMAT => "it is not a program",
            Errno::ACCESS => "it may not be executed",
            Errno::LOOP => "too many symbolic links",
            _ => "Linux refused to execute it",
        }
    }
}

/// # Safety
/// As the system call `number` demands.
unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel changes nothing but these registers and what the caller answers for.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if result < 0 { Err(Errno(-result)) } else { Ok(result as usize) }
}

/// Writes what it can of `text` to standard error.
pub(super) fn write_error(text: &[u8]) {
    // SAFETY: write(2) only reads the text.
    let _ = unsafe { system_call(1, 2, text.as_ptr().expose_provenance(), text.len()) };
}

/// Ends the process.
pub(super) fn exit(status: u8) -> ! {
    // SAFETY: exit_group(2) touches no memory.
    let _ = unsafe { system_call(231, usize::from(status), 0, 0) };
    crate::process::trap()
}

/// Reads where a symbolic link leads, without a terminating NUL; answers the length.
pub(super) fn read_link(link: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (from, to) = (link.as_ptr().expose_provenance(), buffer.as_mut_ptr().expose_provenance());
    // SAFETY: readlink(2) writes to no more than the buffer.
    unsafe { system_call(89, from, to, buffer.len()) }
}

/// Fresh memory of zeros.
pub(super) fn map(bytes: usize) -> Result<*mut u8, Errno> {
    let (mut result, read_write, private_anonymous) = (9isize, 3usize, 0x22usize);
    // SAFETY: mmap(2) of new memory leaves all that is in use alone.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") 0, in("rsi") bytes, in("rdx") read_write,
             in("r10") private_anonymous, in("r8") -1isize, in("r9") 0,
             lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if result < 0 { Err(Errno(-result)) } else { Ok(core::ptr::with_exposed_provenance_mut(result as usize)) }
}

/// Replaces the process by another program; comes back only when that fails.
///
/// # Safety
/// `program` is a C string; both lists are of C strings and end with null.
pub(super) unsafe fn execute(
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> Errno {
    let [program, arguments, environment] =
        [program.expose_provenance(), arguments.expose_provenance(), environment.expose_provenance()];
    // SAFETY: execve(2) only reads its arguments, which are as the caller promises.
    match unsafe { system_call(59, program, arguments, environment) } {
        Err(errno) => errno,
        Ok(_) => Errno::NO_EXEC_FORMAT,
    }
}
