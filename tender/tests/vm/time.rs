//! The guest's clocks.

use crate::child::Running;
use crate::lane::times;
use crate::library::Machine;
use crate::not_run::not_run;
use crate::support::{guest, no_kvm, output, run, stdout};
use coracle_tender::instance::End;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the clock is read at least.
fn readings() -> u32 {
    times(1_000_000, 10_000)
}

#[test]
fn the_clock_never_runs_backwards() {
    if no_kvm() {
        return;
    }
    // Longer than the clock's parameters hold, so that they are renewed on the way.
    let ended = output(run(&[], guest("read_clock"), &["2500", &readings().to_string()]));
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
}

#[test]
fn reading_the_clock_leaves_the_machine_about_once_in_a_second() {
    if no_kvm() {
        return;
    }
    let machine = Machine::open(guest("read_clock"));
    let least = readings();
    let mut instance = machine.boot(&["1500", &least.to_string()]);
    let begin = Instant::now();
    let (end, readings) = machine.run(&mut instance, None);
    let seconds = begin.elapsed().as_secs();
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    assert!(readings.trim().parse::<u64>().expect("a number") >= u64::from(least));
    let statistics = instance.statistics().expect("they were asked for");
    let calls = statistics.exits.get("clock").map_or(0, |exits| exits.count);
    // Where the counter is not trusted, each reading is a call: such a machine cannot show this.
    if calls < u64::from(least) {
        assert!(calls <= 4 * (seconds + 1), "{calls} calls in {seconds} s");
    } else {
        not_run("the time stamp counter of this machine is not trusted");
    }
}

#[test]
fn a_sleep_is_not_shorter_than_asked() {
    if no_kvm() {
        return;
    }
    let begin = Instant::now();
    let ended = output(run(&[], guest("sleep"), &["50"]));
    let elapsed = begin.elapsed();
    let taken: u128 = stdout(&ended).trim().parse().expect("a number");
    assert!(taken >= 50_000_000, "{taken} ns by the guest's clock");
    assert!(elapsed >= Duration::from_millis(50), "{elapsed:?} by the host's");
}

/// What one line of the guest `ask_clock` tells: its clocks at a moment between two of the host's.
struct Reading {
    monotonic: i128,
    wall: i128,
    before: i128,
    after: i128,
    wall_before: i128,
    wall_after: i128,
}

impl Reading {
    fn take(running: &mut Running, input: &mut impl Write, start: Instant) -> Reading {
        let host = || start.elapsed().as_nanos() as i128;
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i128;
        let (wall_before, before) = (wall(), host());
        input.write_all(b"\n").expect("the guest reads");
        let line = running.line();
        let (after, wall_after) = (host(), wall());
        let mut numbers = line.split(' ').map(|number| number.parse().expect("a number"));
        let (monotonic, wall) = (numbers.next().expect("two"), numbers.next().expect("two"));
        Reading { monotonic, wall, before, after, wall_before, wall_after }
    }
}

#[test]
fn the_clocks_keep_the_hosts_time() {
    if no_kvm() {
        return;
    }
    const DRIFT: i128 = 1_000_000;
    const WALL: i128 = 50_000_000;
    let mut running = Running::start(run::<&str>(&[], guest("ask_clock"), &[]).stdin(Stdio::piped()));
    let mut input = running.input();
    let start = Instant::now();
    // The least and the most that the guest's clock may be ahead of ours, by all readings so far:
    // a busy machine makes a reading less exact, never wrong.
    let (mut least, mut most) = (i128::MIN / 2, i128::MAX / 2);
    while start.elapsed() < Duration::from_secs(3) {
        let reading = Reading::take(&mut running, &mut input, start);
        let (lower, upper) = (reading.monotonic - reading.after, reading.monotonic - reading.before);
        let at = start.elapsed();
        assert!(lower <= most + DRIFT, "after {at:?} the guest's clock is {} ns ahead", lower - most);
        assert!(upper >= least - DRIFT, "after {at:?} the guest's clock is {} ns behind", least - upper);
        if start.elapsed() < Duration::from_millis(500) {
            (least, most) = (least.max(lower), most.min(upper));
        }
        let wall = reading.wall_before - WALL..reading.wall_after + WALL;
        assert!(wall.contains(&reading.wall), "wall clock is {} of {wall:?}", reading.wall);
    }
    drop(input);
    assert_eq!(running.ended().code(), Some(0));
}
