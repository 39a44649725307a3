//! Which system calls a confined process may make, and why. Anything else is not what the tender does.
//!
//! | file | what it does |
//! |---|---|
//! | `guests` | the rules for running guests and making them, in VMs and in processes |
//! | `around` | the rules for all that is done around that |

mod around;
mod guests;

#[cfg(test)]
pub(crate) use guests::STEP;

use crate::machine::Backend;
use libc::{c_long, c_ulong};

/// What a process, or a thread, does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// It runs one guest to its end.
    Run,
    /// It starts a guest and writes its snapshot.
    Snapshot,
    /// It makes calls in instances, which it makes itself.
    Pool,
    /// It also answers HTTP.
    Serve,
    /// It is a thread of a pool: it makes instances and runs calls in them, and does no more.
    Worker,
}

impl Duty {
    /// All there are.
    pub const ALL: [Duty; 5] = [Duty::Run, Duty::Snapshot, Duty::Pool, Duty::Serve, Duty::Worker];
}

/// What is asked of one of a call's arguments, which are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    Any,
    /// This one is this number, of 32 bits.
    Is(u8, u64),
    /// This one has none of these bits, of the lower 32.
    Without(u8, u64),
    /// This one is no pointer.
    Null(u8),
    /// This one is the number of the process that the filter was made in.
    Own(u8),
    /// This one is the number of a process: kill(2) takes 0 and less for many at once.
    One(u8),
}

impl Argument {
    /// Whether a call with these arguments is meant, where a process of that number made the filter.
    #[must_use]
    pub fn fits(self, arguments: &[u64; 6], process: u32) -> bool {
        let whole = |index: u8| arguments.get(usize::from(index)).copied().unwrap_or_default();
        let given = |index: u8| whole(index) & 0xffff_ffff;
        match self {
            Argument::Any => true,
            Argument::Is(index, value) => given(index) == value,
            Argument::Without(index, bits) => given(index) & bits == 0,
            Argument::Null(index) => whole(index) == 0,
            Argument::Own(index) => given(index) == u64::from(process),
            Argument::One(index) => given(index) != 0 && given(index) >> 31 == 0,
        }
    }
}

/// What becomes of a call that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    Made,
    /// It is not made and has this error, whatever its arguments: who asks knows another way.
    Refused(i32),
}

/// A system call that does not end the process. Several rules for one call: each allows it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its number.
    pub call: c_long,
    /// And only if all of this is so.
    pub arguments: [Argument; MOST],
    /// What becomes of it.
    pub answer: Answer,
    /// What it is for.
    pub why: &'static str,
    /// Why it is not seen wherever that is done.
    pub rarely: Option<&'static str>,
}

/// So much a rule can ask.
pub(super) const MOST: usize = 4;

impl Rule {
    /// The same, of a call that is not made on every machine, or not in every run.
    const fn rarely(self, when: &'static str) -> Rule {
        Rule { rarely: Some(when), ..self }
    }

    /// The same, if this is so too.
    const fn and(mut self, argument: Argument) -> Rule {
        let mut index = 1;
        while !matches!(self.arguments[index], Argument::Any) {
            index += 1;
        }
        self.arguments[index] = argument;
        self
    }

    /// Whether a call is meant, where a process of that number made the filter.
    #[must_use]
    pub fn fits(&self, arguments: &[u64; 6], process: u32) -> bool {
        self.arguments.iter().all(|argument| argument.fits(arguments, process))
    }
}

/// Rules that go together.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// What they are for.
    pub name: &'static str,
    /// Whose.
    pub duties: &'static [Duty],
    /// Only where guests are run by this; `Auto` for both.
    pub backend: Backend,
    /// The rules.
    pub rules: &'static [Rule],
}

impl List {
    /// Whether it holds for a duty on a backend, `Auto` for either.
    #[must_use]
    pub fn is_for(&self, duty: Duty, backend: Backend) -> bool {
        let same = self.backend == Backend::Auto || backend == Backend::Auto || self.backend == backend;
        same && self.duties.contains(&duty)
    }
}

/// All lists.
pub const LISTS: &[List] = &[
    guests::RUN,
    guests::RUN_KVM,
    guests::STATISTICS,
    guests::RUN_PROCESS,
    guests::MAKE,
    guests::MAKE_KVM,
    guests::MAKE_PROCESS,
    guests::WATCH,
    guests::CHILD,
    guests::ONLY_THREAD,
    guests::ONLY_CHILD,
    around::COMMAND,
    around::SYMBOLS,
    around::SAVE,
    around::THREADS,
    around::TERMINAL,
    around::CONFINE,
    around::SERVE,
];

/// The rules for a duty.
pub fn of(duty: Duty, backend: Backend) -> impl Iterator<Item = &'static Rule> {
    LISTS.iter().filter(move |list| list.is_for(duty, backend)).flat_map(|list| list.rules)
}

const fn rule(call: c_long, argument: Argument, why: &'static str) -> Rule {
    let arguments = [argument, Argument::Any, Argument::Any, Argument::Any];
    Rule { call, arguments, answer: Answer::Made, why, rarely: None }
}

/// A call that is never made.
const fn refused(call: c_long, error: i32, why: &'static str) -> Rule {
    Rule { answer: Answer::Refused(error), ..rule(call, Argument::Any, why) }
}

/// That the first argument is this one.
const fn first(value: c_ulong) -> Argument {
    Argument::Is(0, value)
}

/// That the second argument is this one.
const fn second(value: c_ulong) -> Argument {
    Argument::Is(1, value)
}

/// That the third argument is this one.
const fn third(value: c_ulong) -> Argument {
    Argument::Is(2, value)
}

/// Not executable: `mmap` and `mprotect` take the rights as their third argument.
const DATA: Argument = Argument::Without(2, libc::PROT_EXEC as u64);
/// Not writable.
const CODE: Argument = Argument::Without(2, libc::PROT_WRITE as u64);
/// To be read only: `openat` takes what is asked for as its third argument.
const TO_READ: Argument =
    Argument::Without(2, (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64);

#[cfg(test)]
mod tests {
    use super::{Argument, Duty, LISTS, of, rule};
    use crate::machine::Backend;

    #[test]
    fn each_rule_has_a_reason_and_stands_once_for_a_duty() {
        for duty in Duty::ALL {
            for backend in [Backend::Kvm, Backend::Process] {
                let rules: Vec<_> = of(duty, backend).collect();
                assert!(rules.len() > 20, "{duty:?}");
                for (index, rule) in rules.iter().enumerate() {
                    assert!(!rule.why.is_empty(), "{rule:?}");
                    let same = |other: &&&super::Rule| {
                        other.call == rule.call
                            && (other.arguments == rule.arguments
                                || other.arguments == [Argument::Any; super::MOST])
                    };
                    let twice =
                        rules.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, other)| other);
                    assert_eq!(twice.filter(same).count(), 0, "{duty:?} {backend:?}: {rule:?}");
                }
            }
        }
    }

    #[test]
    fn no_list_is_for_nobody() {
        assert!(LISTS.iter().all(|list| !list.duties.is_empty() && !list.rules.is_empty()));
    }

    #[test]
    fn arguments_are_looked_at_as_the_filter_does() {
        let arguments = [1, 0xffff_ffff_0000_0004, 6, 0, 0xffff_ffff, 1 << 40];
        let fits = |argument: Argument| argument.fits(&arguments, 6);
        assert!(fits(Argument::Any));
        assert!(fits(Argument::Is(1, 4)) && !fits(Argument::Is(1, 5)));
        assert!(fits(Argument::Without(2, 1)) && !fits(Argument::Without(2, 2)));
        assert!(fits(Argument::Null(3)) && !fits(Argument::Null(5)) && !fits(Argument::Null(2)));
        assert!(fits(Argument::Own(2)) && !fits(Argument::Own(1)));
        assert!(fits(Argument::One(0)) && !fits(Argument::One(3)) && !fits(Argument::One(4)));
        let both = rule(0, Argument::Is(0, 1), "").and(Argument::Is(1, 4));
        assert!(both.fits(&arguments, 6) && !both.and(Argument::Is(2, 4)).fits(&arguments, 6));
    }
}
