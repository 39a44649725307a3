//! On which CPU a child and the thread that traces it run.
//!
//! Each call hands over from one to the other and back, and they never run at once. Linux does not know that and
//! spreads them over two CPUs where one idles: then each hand-over wakes a CPU, which in a VM is an exit and takes
//! several times as long as a switch on the same one. So both are kept where they are while calls follow each other
//! closely. They are let go as soon as a turn of the guest is long, and now and then all the same, so that the
//! scheduler can give them another place.
//!
//! A thread that may run wherever its cpuset lets it is to have no mask of its own afterwards: Linux (6.2 and newer)
//! keeps what was asked for, and changes of the cpuset would reach it only in part.

use crate::machine::Kicker;
use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

/// A turn of the guest that is not much more than its hand-overs may take, in a busy VM on two CPUs.
const SHORT: Duration = Duration::from_micros(250);
/// After so many of them in a row both are kept where they are.
const ENOUGH: u32 = 16;
/// After so many more they are let go once.
const MANY: u32 = 1 << 14;
/// A turn that takes as long as this while they are kept is kicked.
const LONG: Duration = Duration::from_millis(8);

thread_local! {
    /// What keeps this thread on a CPU.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    /// What ends that, once something had to. It is not the kicker that others set to their deadlines.
    static TIMER: RefCell<Option<Kicker>> = const { RefCell::new(None) };
}

/// That this thread is kept on a CPU.
#[derive(Debug)]
struct Kept {
    /// Together with this child.
    child: libc::pid_t,
    here: libc::cpu_set_t,
    /// Where it ran before.
    before: libc::cpu_set_t,
    /// When the timer kicks.
    kick: Instant,
}

/// What is known of the turns of one child.
#[derive(Debug)]
pub(super) struct Place {
    child: libc::pid_t,
    /// How many short turns there were in a row.
    short: u32,
    /// When the turn began.
    begin: Instant,
    /// Whether the child may run on one CPU alone.
    kept: bool,
}

impl Place {
    pub(super) fn of(child: libc::pid_t) -> Place {
        Place { child, short: 0, begin: Instant::now(), kept: false }
    }

    /// A turn of the child begins.
    pub(super) fn begin(&mut self) {
        self.begin = Instant::now();
        if !self.kept {
            return;
        }
        let still = KEPT.with_borrow_mut(|kept| match kept {
            Some(kept) if kept.child == self.child => {
                if kept.kick < self.begin + LONG / 2 {
                    kept.kick = self.begin + LONG;
                    set_timer(Some(LONG));
                }
                true
            }
            _ => false,
        });
        if !still {
            self.kept = false;
            self.short = 0;
            // It keeps the place that it has where the kernel refuses.
            let _ = cpus_of(0).and_then(|cpus| give_back(self.child, &cpus));
        }
    }

    /// It has ended.
    pub(super) fn end(&mut self) {
        if self.begin.elapsed() > SHORT {
            self.short = 0;
            if self.kept {
                let_go();
            }
            return;
        }
        self.short += 1;
        if !self.kept && self.short >= ENOUGH {
            self.short = 0;
            self.kept = keep(self.child).is_ok();
        } else if self.kept && self.short >= MANY {
            let_go();
        }
    }
}

/// Keeps this thread and a child on the CPU that they are on.
fn keep(child: libc::pid_t) -> io::Result<()> {
    let_go();
    let before = cpus_of(0)?;
    // SAFETY: the call takes nothing.
    let number = usize::try_from(unsafe { libc::sched_getcpu() }).map_err(io::Error::other)?;
    if number >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut here = no_cpus();
    // SAFETY: the set has a bit for that CPU.
    unsafe { libc::CPU_SET(number, &mut here) };
    TIMER.with_borrow_mut(|timer| {
        if !timer.as_ref().is_some_and(Kicker::is_of_this_process) {
            *timer = Some(Kicker::new()?);
        }
        io::Result::Ok(())
    })?;
    set_cpus(0, &here)?;
    KEPT.set(Some(Kept { child, here, before, kick: Instant::now() + LONG }));
    set_timer(Some(LONG));
    set_cpus(child, &here).inspect_err(|_| let_go())
}

/// Lets this thread run where it ran before. Its child follows when it goes on.
pub(super) fn let_go() {
    let Some(Kept { here, before, .. }) = KEPT.take() else { return };
    set_timer(None);
    // Who has given it another place meanwhile has the say. It can be refused only where an administrator has
    // taken all of these CPUs away.
    if cpus_of(0).is_ok_and(|now| are_same(&now, &here)) {
        let _ = give_back(0, &before);
    }
}

/// Lets a thread run on these CPUs, without a mask of its own where these are all that it can have.
fn give_back(thread: libc::pid_t, cpus: &libc::cpu_set_t) -> io::Result<()> {
    let mut all = no_cpus();
    for number in 0..libc::CPU_SETSIZE as usize {
        // SAFETY: the set has a bit for each of these.
        unsafe { libc::CPU_SET(number, &mut all) };
    }
    set_cpus(thread, &all)?;
    if are_same(&cpus_of(thread)?, cpus) { Ok(()) } else { set_cpus(thread, cpus) }
}

fn are_same(one: &libc::cpu_set_t, other: &libc::cpu_set_t) -> bool {
    // SAFETY: both sets are whole.
    unsafe { libc::CPU_EQUAL(one, other) }
}

/// Has this thread kicked after such a time, or not at all.
fn set_timer(after: Option<Duration>) {
    TIMER.with_borrow(|timer| match (timer, after) {
        (Some(timer), Some(after)) => timer.once(after),
        (Some(timer), None) => timer.disarm(),
        (None, _) => {}
    });
}

fn no_cpus() -> libc::cpu_set_t {
    // SAFETY: a set is an array of numbers, of which zero is one.
    unsafe { std::mem::zeroed() }
}

/// Where a thread may run, 0 for this one.
fn cpus_of(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    let mut cpus = no_cpus();
    // SAFETY: the kernel fills no more than the set.
    match unsafe { libc::sched_getaffinity(thread, size_of_val(&cpus), &mut cpus) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(cpus),
    }
}

fn set_cpus(thread: libc::pid_t, cpus: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the kernel reads the set.
    match unsafe { libc::sched_setaffinity(thread, size_of_val(cpus), cpus) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
