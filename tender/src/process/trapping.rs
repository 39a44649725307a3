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

thread_local! {
    /// Whether this thread has it.
    static HAS: Cell<bool> = const { Cell::new(false) };
}

/// Has `cpuid` trap in each thread of this process that runs a guest in a process, from then on: each call of the
/// guest is cheaper so. From now on the process has a handler for SIGSEGV, which carries out such a `cpuid`
/// and leaves all else to the handler that there was. Where the CPU cannot have it trap, this does nothing.
pub fn let_cpuid_trap() {
    if WANTED.load(Ordering::Relaxed) || !super::Host::cpuid_is_hidden() {
        return;
    }
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) = on_segv;
    // SAFETY: all fields of a zeroed structure are valid; the handler is one for three arguments, and does what
    // handlers may do. The structure for what was before is filled when the call succeeds.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before = MaybeUninit::uninit();
        if libc::sigaction(libc::SIGSEGV, ptr::null(), before.as_mut_ptr()) != 0 {
            return;
        }
        let _ = BEFORE.set(before.assume_init());
        if libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) != 0 {
            return;
        }
    }
    WANTED.store(true, Ordering::Relaxed);
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
    const CPUID: [u8; 2] = [0x0f, 0xa2];
    // SAFETY: the kernel gives a handler both structures. A general-protection fault tells that the instruction
    // could be fetched: so its first two bytes can be read, where it is not a single one at the end of a page.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = ptr::with_exposed_provenance::<u8>(registers[libc::REG_RIP as usize] as usize);
        let at_end = at.addr() % 4096 == 4095;
        if (*information).si_code == SI_KERNEL && !at_end && [at.read(), at.add(1).read()] == CPUID {
            set(true);
            let (leaf, subleaf) = (registers[libc::REG_RAX as usize], registers[libc::REG_RCX as usize]);
            let found = std::arch::x86_64::__cpuid_count(leaf as u32, subleaf as u32);
            set(false);
            registers[libc::REG_RAX as usize] = found.eax.into();
            registers[libc::REG_RBX as usize] = found.ebx.into();
            registers[libc::REG_RCX as usize] = found.ecx.into();
            registers[libc::REG_RDX as usize] = found.edx.into();
            registers[libc::REG_RIP as usize] += CPUID.len() as i64;
            return;
        }
        pass_on(signal, information, context);
    }
}

/// Does what would have been done without the handler above.
///
/// # Safety
/// The arguments are a handler's.
unsafe fn pass_on(signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    // SAFETY: the structure is what the kernel said of the handler, which has the type that its flags tell.
    unsafe {
        match before.sa_sigaction {
            // The fault comes once more, and ends the process.
            libc::SIG_DFL | libc::SIG_IGN => {
                libc::sigaction(signal, before, ptr::null_mut());
            }
            handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(handler);
                handler(signal, information, context);
            }
            handler => {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}
