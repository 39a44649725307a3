//! Guest after guest in one process, for as long as `CORACLE_SOAK_SECONDS` says: each ends as it
//! should, and together they leave nothing behind.

use crate::holdings::{Holdings, threads};
use crate::library::{Machine, alone};
use crate::support::{guest, no_kvm};
use coracle_hypercall::exit;
use coracle_tender::calls::Request;
use coracle_tender::instance::End;
use std::time::{Duration, Instant};

/// How many guests run at once in the part of a round in which several do.
const AT_ONCE: usize = 8;

/// How long this goes on.
fn length() -> Duration {
    let seconds = std::env::var("CORACLE_SOAK_SECONDS");
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().expect("a number of seconds")))
}

/// A guest, how it is run, and how it is to end.
struct Kind {
    machine: Machine,
    arguments: &'static [&'static str],
    limit: Option<Duration>,
    ask: Option<Request>,
    ends: fn(&End) -> bool,
    status: u8,
}

fn kind(name: &str, arguments: &'static [&'static str], ends: fn(&End) -> bool, status: u8) -> Kind {
    Kind { machine: Machine::open(guest(name)), arguments, limit: None, ask: None, ends, status }
}

fn kinds() -> Vec<Kind> {
    let exited = |end: &End| matches!(end, End::Exited(_));
    let faulted = |end: &End| matches!(end, End::Faulted(_));
    let panicked = |end: &End| matches!(end, End::Panicked(..));
    let timed_out = |end: &End| matches!(end, End::TimedOut);
    let asked = |end: &End| matches!(end, End::Asked(Request::Terminate));
    let limit = Some(Duration::from_millis(20));
    let terminate = Some(Request::Terminate);
    vec![
        kind("sum", &["1"], exited, 0),
        kind("exit_with", &["7"], exited, 7),
        kind("main_error", &[], exited, 1),
        kind("exit_with", &["none"], panicked, exit::PANIC),
        kind("panic_report", &["10"], panicked, exit::PANIC),
        kind("touch", &["write", "10"], faulted, exit::BAD_ACCESS),
        kind("fault_loop", &["stack"], faulted, exit::BAD_ACCESS),
        kind("run_code", &["0f0b"], faulted, exit::ILLEGAL_INSTRUCTION),
        kind("change_rights", &["give-back"], exited, 0),
        kind("forever", &["log"], timed_out, exit::TIMEOUT).limited(limit),
        kind("forever", &["compute"], timed_out, exit::TIMEOUT).limited(limit),
        kind("forever", &["call"], timed_out, exit::TIMEOUT).limited(limit),
        kind("forever", &["wait"], timed_out, exit::TIMEOUT).limited(limit),
        kind("forever", &["compute"], asked, exit::TERMINATE).asked(terminate),
        kind("forever", &["sleep"], asked, exit::TERMINATE).asked(terminate),
    ]
}

impl Kind {
    fn limited(self, limit: Option<Duration>) -> Kind {
        Kind { limit, ..self }
    }

    fn asked(self, ask: Option<Request>) -> Kind {
        Kind { ask, ..self }
    }

    /// Boots such a guest, runs it to its end, and checks that.
    fn run(&self) {
        let mut instance = self.machine.boot(self.arguments);
        let stopper = instance.stopper();
        let end = std::thread::scope(|scope| {
            if let Some(request) = self.ask {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(5));
                    stopper.request(request);
                });
            }
            self.machine.run(&mut instance, self.limit).0
        });
        assert!((self.ends)(&end), "{:?}: {end:?}", self.arguments);
        let status = end.status().or_else(|| instance.report(&end, None).map(|report| report.status()));
        assert_eq!(status, Some(self.status), "{:?}: {end:?}", self.arguments);
    }
}

/// All kinds one after the other, then several guests at once, of kinds that change from round to
/// round.
fn round(kinds: &[Kind], number: usize) {
    kinds.iter().for_each(Kind::run);
    std::thread::scope(|scope| {
        for index in 0..AT_ONCE {
            let kind = &kinds[(number * AT_ONCE + index) % kinds.len()];
            scope.spawn(move || kind.run());
        }
    });
}

#[test]
fn guest_after_guest_ends_as_it_should_and_leaves_nothing_behind() {
    if no_kvm() {
        return;
    }
    alone("soak::guest_after_guest_ends_as_it_should_and_leaves_nothing_behind", || {
        let kinds = kinds();
        let threads = threads();
        // What the process keeps from its first guests, it keeps once.
        (0..3).for_each(|number| round(&kinds, number));
        let before = Holdings::with_threads(threads);
        let begin = Instant::now();
        let mut rounds = 0;
        while rounds < 2 || begin.elapsed() < length() {
            round(&kinds, rounds);
            rounds += 1;
        }
        Holdings::with_threads(threads).expect_no_more_than(&before);
    });
}
