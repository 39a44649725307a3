//! How a guest is made to come back: a signal to its thread, whose handler sets `immediate_exit` in
//! the page that the thread shares with KVM, or has ptrace(2) stop the child. So the guest comes back
//! whether the signal arrives while it runs, just before it would, or while the tender is in a system call
//! for it.

use crate::forks::Process;
use crate::process::interrupt;
use crate::timespec::timespec;
use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

thread_local! {
    /// The flag of the machine that this thread runs, `immediate_exit` of a vCPU; null when it runs none.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
    /// The child that runs a guest for this thread, 0 when none does.
    static TRACEE: Cell<libc::pid_t> = const { Cell::new(0) };
    /// What kicks this thread, once something has to.
    static KICKER: RefCell<Option<Arc<Kicker>>> = const { RefCell::new(None) };
    /// When this thread will be kicked at the latest, as far as `kick_by` has seen to it.
    static KICK_BY: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The real-time signal that kicks, counted from SIGRTMIN.
const SIGNAL_OFFSET: i32 = 3;

/// The signal that the library takes for itself. Its handler is installed when the first vCPU is made.
/// A thread that runs a guest has it unblocked meanwhile, and afterwards as it was before.
#[must_use]
pub fn kick_signal() -> i32 {
    libc::SIGRTMIN() + SIGNAL_OFFSET
}

/// How often a kick is repeated until it was seen, so that one that arrives just before a blocking
/// system call is not lost.
const REPEAT: Duration = Duration::from_millis(10);

extern "C" fn on_kick(_: libc::c_int) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: the pointer is non-null only while this thread runs the vCPU that it belongs to.
        unsafe { flag.write_volatile(1) };
    }
    // A child that is stopped stops again as soon as it goes on. One that is about to stop for another reason
    // does not: then the flag tells.
    match TRACEE.get() {
        0 => {}
        child => interrupt(child),
    }
}

/// A timer that kicks one thread, whatever vCPU it runs.
#[derive(Debug)]
pub struct Kicker {
    timer: libc::timer_t,
    /// The process that has the timer.
    process: Process,
}

// SAFETY: a POSIX timer belongs to the process; every thread may set and delete it.
unsafe impl Send for Kicker {}
// SAFETY: as above; the kernel takes settings from several threads one after the other.
unsafe impl Sync for Kicker {}

impl Kicker {
    /// What kicks this thread. It is made when it is first asked for.
    ///
    /// # Errors
    /// The host's, when it has no timers left.
    pub fn of_this_thread() -> io::Result<Arc<Kicker>> {
        KICKER.with_borrow_mut(|kicker| match kicker {
            Some(kicker) if kicker.is_of_this_process() => Ok(Arc::clone(kicker)),
            _ => {
                KICK_BY.set(None);
                Ok(Arc::clone(kicker.insert(Arc::new(Kicker::new()?))))
            }
        })
    }

    /// Makes one more timer for this thread, and installs the signal's handler.
    pub(crate) fn new() -> io::Result<Kicker> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler only touches a thread-local cell and the byte it points to; no
            // SA_RESTART, so that blocking calls end.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_kick as *const () as usize;
                libc::sigaction(kick_signal(), &action, ptr::null_mut());
            }
        });
        // SAFETY: all fields of a zeroed sigevent are valid; those that matter are set.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = kick_signal();
        // SAFETY: gettid has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = ptr::null_mut();
        // SAFETY: both pointers are to locals of the right type.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Kicker { timer, process: Process::this() })
    }

    /// Kicks `after` so long, and again and again until [`disarm`](Self::disarm). May be called in a
    /// signal handler.
    pub fn arm(&self, after: Duration) {
        // A timer of zero would be disarmed.
        self.set(after.max(Duration::from_nanos(1)), REPEAT);
    }

    /// Sees to it that this thread, which must be the kicker's, is kicked once, at `deadline` or before. A
    /// timer that is set to an earlier time already is left alone, and one that is not needed any more
    /// expires: setting it for each of many short runs would cost more than they do.
    pub(crate) fn kick_by(&self, deadline: Instant) {
        let now = Instant::now();
        if KICK_BY.get().is_none_or(|set| set > deadline || set <= now) {
            self.kick_once(deadline, now);
        }
    }

    /// Sees to it that this thread, which must be the kicker's, is kicked once, between `earliest` and
    /// `latest`. A timer that is set to a time in between is left alone.
    pub(crate) fn kick_between(&self, earliest: Instant, latest: Instant) {
        if KICK_BY.get().is_none_or(|set| set < earliest || set > latest) {
            self.kick_once(latest, Instant::now());
        }
    }

    /// Kicks `after` so long, once.
    pub(crate) fn once(&self, after: Duration) {
        // A timer of zero would be disarmed.
        self.set(after.max(Duration::from_nanos(1)), Duration::ZERO);
    }

    /// Whether it was made here, and not before a fork.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process.is_this()
    }

    fn kick_once(&self, moment: Instant, now: Instant) {
        KICK_BY.set(Some(moment));
        self.once(moment.saturating_duration_since(now));
    }

    /// What [`kick_by`](Self::kick_by) has set for this thread has come, or something else has.
    pub(crate) fn was_kicked() {
        KICK_BY.set(None);
    }

    /// Stops kicking.
    pub fn disarm(&self) {
        self.set(Duration::ZERO, Duration::ZERO);
    }

    fn set(&self, value: Duration, interval: Duration) {
        let setting = libc::itimerspec { it_value: timespec(value), it_interval: timespec(interval) };
        // SAFETY: the timer is ours and lives; the setting is a local. It cannot fail with these.
        unsafe { libc::timer_settime(self.timer, 0, &setting, ptr::null_mut()) };
    }
}

impl Drop for Kicker {
    fn drop(&mut self) {
        // A child of a fork has no timers of its parent's, and others may have their numbers.
        if self.process.is_this() {
            // SAFETY: the timer is ours and is deleted once.
            unsafe { libc::timer_delete(self.timer) };
        }
    }
}

/// While this lives, kicks reach this thread, even where it was started with their signal blocked.
#[derive(Debug)]
pub struct Reachable {
    was_blocked: bool,
    bound_to_thread: PhantomData<*const ()>,
}

impl Reachable {
    /// Unblocks the kick signal in this thread.
    #[must_use]
    pub(crate) fn new() -> Reachable {
        let before = change_mask(libc::SIG_UNBLOCK);
        // SAFETY: the set was filled by the call above.
        let was_blocked = unsafe { libc::sigismember(&before, kick_signal()) == 1 };
        Reachable { was_blocked, bound_to_thread: PhantomData }
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        if self.was_blocked {
            change_mask(libc::SIG_BLOCK);
        }
    }
}

/// Blocks or unblocks kicks in this thread, and answers which signals it had blocked before.
fn change_mask(how: libc::c_int) -> libc::sigset_t {
    let (mut kick, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: both sets are locals and filled before they are read; the call cannot fail with these.
    unsafe {
        libc::sigemptyset(kick.as_mut_ptr());
        libc::sigaddset(kick.as_mut_ptr(), kick_signal());
        libc::sigemptyset(before.as_mut_ptr());
        libc::pthread_sigmask(how, kick.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

/// Where kicks of a thread go. A kick that comes while the tender works for the guest so holds for its next
/// entry.
#[derive(Debug)]
pub(crate) struct Target {
    /// `immediate_exit` of a vCPU, or what the machine of a child looks at before that goes on; or null.
    flag: *mut u8,
    /// A child, or 0.
    tracee: libc::pid_t,
}

// SAFETY: the pointer is to a page that the vCPU's descriptor keeps mapped, and is used by the thread
// that runs the vCPU alone.
unsafe impl Send for Target {}

impl Target {
    /// A vCPU that nothing aims at yet. `flag` stays mapped as long as this lives.
    pub(crate) fn new(flag: *mut u8) -> Target {
        Target { flag, tracee: 0 }
    }

    /// A child that this thread traces. `flag` stays where it is as long as this lives.
    pub(crate) fn of_process(tracee: libc::pid_t, flag: *mut u8) -> Target {
        Target { flag, tracee }
    }

    /// From now on this thread's kicks reach this target, until the answer is dropped, which calls `end` first.
    pub(crate) fn aim(&self, end: fn()) -> Aim {
        let before = Target { flag: IMMEDIATE_EXIT.replace(self.flag), tracee: TRACEE.replace(self.tracee) };
        Aim { before, end }
    }
}

/// While this lives, kicks of this thread have a target. It must not outlive that.
#[derive(Debug)]
pub(crate) struct Aim {
    /// The target of a guest that waits for this one, whose call the thread is carrying out; or nothing.
    before: Target,
    end: fn(),
}

impl Drop for Aim {
    fn drop(&mut self) {
        (self.end)();
        let Target { flag, tracee } = self.before;
        IMMEDIATE_EXIT.set(flag);
        TRACEE.set(tracee);
        // A kick may have reached the wrong one, and the timer may be set for that one: so the guest
        // that waited comes back at once, and the timer is set for it.
        if !flag.is_null() {
            // SAFETY: the machine of that guest is borrowed further up on this thread's stack.
            unsafe { flag.write_volatile(1) };
        }
        if tracee != 0 {
            interrupt(tracee);
        }
    }
}
