//! `cpuid` traps in the tender's own threads too, where a program asks for that.
//!
//! Whether it traps is in a register of the CPU, which Linux sets at each switch between two threads of which
//! only one has it. In a VM each of these writes is an exit, and a call of a guest takes two: a threefold on a host
//! where exits are dear. Between threads that both have it there is nothing to set.

use super::child::ARCH_SET_CPUID;
use super::fault::SI_KERNEL;
use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether threads that run guests are to have it.
static WANTED: AtomicBool = AtomicBool::new(false);
/// What became of SIGSEGV before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
/// Whether the handler of before has put the default in its own place since, as that of Rust's standard library does.
static DEFAULT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread has it.
    static HAS: Cell<bool> = const { Cell::new(false) };
}

/// Has `cpuid` trap in each thread of this process that runs a guest in a process, from then on: each call of the
/// guest is cheaper so. From now on the process has a handler for SIGSEGV, which carries out such a `cpuid`
/// and leaves all else to the handler that there was. A program that installs one of its own later has that call
/// the one it replaces where the signal is not meant for it: else the next `cpuid` in such a thread ends the
/// program. Where the CPU cannot have it trap, this does nothing.
pub fn let_cpuid_trap() {
    if WANTED.load(Ordering::Relaxed) || !super::Host::cpuid_is_hidden() {
        return;
    }
    let Some(before) = disposition() else { return };
    let _ = BEFORE.set(before);
    if install() {
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// What becomes of SIGSEGV now.
fn disposition() -> Option<libc::sigaction> {
    let mut found = MaybeUninit::uninit();
    // SAFETY: the structure is filled when the call succeeds.
    unsafe {
        let asked = libc::sigaction(libc::SIGSEGV, ptr::null(), found.as_mut_ptr());
        (asked == 0).then(|| found.assume_init())
    }
}

/// Installs the handler.
fn install() -> bool {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) = on_segv;
    // SAFETY: all fields of a zeroed structure are valid; the handler is one for three arguments, and does what
    // handlers may do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) == 0
    }
}

/// Has it trap in this thread, and in the children that it makes, if that is wanted.
pub(super) fn in_this_thread() {
    if WANTED.load(Ordering::Relaxed) && !HAS.replace(true) {
        set(false);
    }
}

/// Whether `cpuid` goes on without a trap.
fn set(goes_on: bool) {
    // SAFETY: the call takes numbers alone. There is a handler for what it leads to.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, libc::c_long::from(goes_on)) };
}

extern "C" fn on_segv(signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler both structures, which nobody else has.
    let (code, registers) =
        unsafe { ((*information).si_code, &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    if code == SI_KERNEL && is_cpuid(registers[libc::REG_RIP as usize] as u64) {
        carry_out(registers);
        return;
    }
    // SAFETY: the arguments are a handler's.
    unsafe { pass_on(signal, information, context) };
}

const CPUID: [u8; 2] = [0x0f, 0xa2];

/// Whether this is where a `cpuid` is. The kernel reads it: there may be nothing, or what can only be executed.
fn is_cpuid(address: u64) -> bool {
    let mut found = [0_u8; CPUID.len()];
    let here = libc::iovec { iov_base: found.as_mut_ptr().cast(), iov_len: found.len() };
    let there =
        libc::iovec { iov_base: ptr::with_exposed_provenance_mut(address as usize), iov_len: found.len() };
    // SAFETY: the kernel writes to a local alone; what the handler has interrupted finds errno as it was.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::process_vm_readv(libc::getpid(), &here, 1, &there, 1, 0);
        *errno = before;
    }
    found == CPUID
}

/// Executes `cpuid` as the program that has these registers meant to.
fn carry_out(registers: &mut [libc::greg_t; 23]) {
    let (leaf, subleaf) = (registers[libc::REG_RAX as usize], registers[libc::REG_RCX as usize]);
    set(true);
    let found = std::arch::x86_64::__cpuid_count(leaf as u32, subleaf as u32);
    set(false);
    registers[libc::REG_RAX as usize] = found.eax.into();
    registers[libc::REG_RBX as usize] = found.ebx.into();
    registers[libc::REG_RCX as usize] = found.ecx.into();
    registers[libc::REG_RDX as usize] = found.edx.into();
    registers[libc::REG_RIP as usize] += CPUID.len() as i64;
}

/// Does what would have been done without the handler above.
///
/// # Safety
/// The arguments are a handler's.
unsafe fn pass_on(signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    // SAFETY: the caller's.
    let is_sent = unsafe { (*information).si_code } <= 0;
    let action = if DEFAULT.load(Ordering::Relaxed) { libc::SIG_DFL } else { before.sa_sigaction };
    match action {
        libc::SIG_IGN if is_sent => {}
        libc::SIG_DFL if is_sent => end(),
        // The fault comes once more, and ends the process.
        libc::SIG_DFL | libc::SIG_IGN => set_default(),
        // SAFETY: the structure is what the kernel said of the handler, which has the type that its flags tell;
        // the arguments are the caller's.
        handler => unsafe {
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, information, context);
            } else {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        },
    }
    // It takes what was sent for a fault, which would come once more.
    if is_sent && disposition().is_some_and(|now| now.sa_sigaction == libc::SIG_DFL) {
        DEFAULT.store(true, Ordering::Relaxed);
        install();
    }
}

/// Ends the process by the signal whose handler runs, as what was sent would have.
fn end() {
    // SAFETY: the instruction faults. A fault whose signal is blocked, as in the handler of that, ends the process.
    unsafe { std::arch::asm!("hlt") };
}

fn set_default() {
    // SAFETY: all fields of a zeroed structure are valid, and mean the default.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGSEGV, &default, ptr::null_mut());
    }
}
