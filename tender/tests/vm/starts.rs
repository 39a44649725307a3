//! Start after start in one program that embeds the tender, as many as `CORACLE_STARTS` says, leave nothing.

use crate::holdings::{Holdings, threads};
use crate::lane::times;
use crate::library::alone;
use crate::support::{guest, host, no_kvm};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::Host;
use coracle_tender::pool::{Limits, Pool};
use coracle_tender::snapshot::Snapshot;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// More than anything takes that is to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(arguments: &[&str]) -> Config {
    let arguments = arguments.iter().map(OsString::from).collect();
    Config { arguments, memory: 16 << 20, ..Config::default() }
}

fn image(name: &str) -> Arc<Image> {
    Arc::new(Image::open(&guest(name)).expect("the guest is an image"))
}

/// Starts in a row, after some that show what the process keeps from its first ones once.
fn in_a_row(start: impl Fn()) {
    let usual = times(100, 20);
    let count = std::env::var("CORACLE_STARTS").map_or(usual, |count| count.parse().expect("a number"));
    let threads = threads();
    (0..8).for_each(|_| start());
    let before = Holdings::with_threads(threads);
    (0..count).for_each(|_| start());
    Holdings::with_threads(threads).expect_no_more_than(&before);
}

fn snapshot(host: &Arc<Host>) -> Arc<Snapshot> {
    let taken = Snapshot::take(host, &image("on_command"), &config(&["on_command"]), PATIENCE);
    Arc::new(taken.expect("it becomes ready").0)
}

#[test]
fn images_that_are_started_in_a_row_leave_nothing() {
    if no_kvm() {
        return;
    }
    alone("starts::images_that_are_started_in_a_row_leave_nothing", || {
        let (host, image, config) = (host(), image("exit_with"), config(&["exit_with", "7"]));
        let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
        in_a_row(|| {
            let mut instance = Instance::boot(&host, &image, &config).expect("the guest boots");
            let console = Console::new(null.as_fd(), null.as_fd(), null.as_fd());
            let end = instance.run(&console, &mut |_| (), None);
            assert!(matches!(end, End::Exited(7)), "{end:?}");
        });
    });
}

#[test]
fn images_that_are_started_in_a_row_and_never_run_leave_nothing() {
    if no_kvm() {
        return;
    }
    alone("starts::images_that_are_started_in_a_row_and_never_run_leave_nothing", || {
        let (host, image, config) = (host(), image("exit_with"), config(&["exit_with", "7"]));
        in_a_row(|| drop(Instance::boot(&host, &image, &config).expect("the guest boots")));
    });
}

#[test]
fn pools_that_are_made_in_a_row_leave_nothing() {
    if no_kvm() {
        return;
    }
    alone("starts::pools_that_are_made_in_a_row_leave_nothing", || {
        let snapshot = snapshot(&Arc::new(host()));
        in_a_row(|| {
            let pool = Pool::builder(Arc::clone(&snapshot)).min(2).build().expect("a pool");
            // The first has many pages written, so that they are watched where that is done.
            for input in ["heap 1000000", "echo"] {
                pool.call(input.as_bytes(), Limits::new().time(PATIENCE)).expect("an answer");
            }
        });
    });
}

#[test]
fn snapshots_that_are_taken_in_a_row_leave_nothing() {
    if no_kvm() {
        return;
    }
    alone("starts::snapshots_that_are_taken_in_a_row_leave_nothing", || {
        let host = Arc::new(host());
        in_a_row(|| {
            let snapshot = snapshot(&host);
            drop(Instance::resume(&snapshot).expect("an instance"));
        });
    });
}
