//! What is different where `cargo xtask test --on` has emulated the machine that tests run on, which takes
//! a hundred times as long as a real one.

use crate::not_run::not_run;
use std::io::Write;
use std::time::Duration;

/// Names the lane.
const LANE: &str = "CORACLE_TEST_LANE";

/// Names a file for what is done less often than elsewhere.
const FEWER_LOG: &str = "CORACLE_FEWER_LOG";

/// How often something is done: as usual, or less often on a lane, which then shows both numbers.
pub(crate) fn times(usual: u32, on_lane: u32) -> u32 {
    if std::env::var_os(LANE).is_none() || on_lane >= usual {
        return usual;
    }
    if let Some(log) = std::env::var_os(FEWER_LOG) {
        let log = std::fs::File::options().append(true).create(true).open(log);
        let written = log.and_then(|mut log| log.write_all(format!("{on_lane} of {usual}\n").as_bytes()));
        written.expect("the file that CORACLE_FEWER_LOG names can be written");
    }
    on_lane
}

/// How late something may be: a lane may take twenty times as long.
pub(crate) fn delay(usual: Duration) -> Duration {
    if std::env::var_os(LANE).is_some() { usual * 20 } else { usual }
}

/// Lets others have the CPU, of which a lane has one: there for as long as ten signals of a traced process may take.
pub(crate) fn give_way() {
    if std::env::var_os(LANE).is_some() {
        std::thread::sleep(Duration::from_millis(50));
    } else {
        std::thread::yield_now();
    }
}

/// Whether the calling test is beyond any emulated machine: it says then that it does not run.
#[track_caller]
pub(crate) fn beyond_emulators(reason: &str) -> bool {
    let is_lane = std::env::var_os(LANE).is_some();
    if is_lane {
        not_run(reason);
    }
    is_lane
}

/// Whether the CPU is QEMU's, which checks less than CPUs do.
pub(crate) fn is_qemu() -> bool {
    std::env::var(LANE).is_ok_and(|lane| lane.starts_with("amd-v"))
}

/// Whether the calling test is beyond the emulator of VT-x, Bochs: it says then that it does not run.
#[track_caller]
pub(crate) fn beyond_bochs(reason: &str) -> bool {
    let is_bochs = std::env::var(LANE).is_ok_and(|lane| lane.starts_with("vt-x"));
    if is_bochs {
        not_run(format_args!("Bochs {reason}"));
    }
    is_bochs
}

/// Bochs leaves a guest only for what that does itself, while interrupts are off in it: no signal and no
/// timer of the host gets in.
pub(crate) const INTERRUPTS: &str = "does not interrupt a guest whose interrupts are off";
