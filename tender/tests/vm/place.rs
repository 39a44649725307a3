//! On which CPUs a guest's process runs, and who traces it.

use crate::child::Running;
use crate::process::{child_of, tender};
use crate::support::{guest, process_host};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The CPUs that a process or thread may run on, as the kernel writes them.
fn cpus_of(process: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
    line.expect("a list of CPUs").to_owned()
}

/// Returns when that is so.
fn wait_until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never so: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_guest_that_calls_often_shares_a_cpu_with_its_tender() {
    let mut running = Running::start(tender(guest("forever")).arg("call"));
    assert_eq!(running.line(), "ready");
    let child = child_of(running.id()).to_string();
    let tender = running.id().to_string();
    wait_until("both run on one CPU", || {
        let cpu = cpus_of(&child);
        cpu.parse::<u32>().is_ok() && cpu == cpus_of(&tender)
    });
}

#[test]
fn a_guest_that_computes_after_many_calls_may_run_anywhere() {
    let mut running = Running::start(tender(guest("call_often")).arg("compute"));
    assert_eq!(running.line(), "ready");
    let own = cpus_of("self");
    let child = child_of(running.id()).to_string();
    wait_until("both run where this test may", || {
        cpus_of(&child) == own && cpus_of(&running.id().to_string()) == own
    });
}

#[test]
fn the_programs_own_code_and_the_end_of_a_run_find_the_thread_as_it_was() {
    let image = Arc::new(Image::open(&guest("call_often")).expect("the guest is an image"));
    let arguments = ["call_often", "log"].map(OsString::from).to_vec();
    let config = Config { arguments, ..Config::default() };
    let mut instance = Instance::boot(&process_host(), &image, &config).expect("the guest boots");
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let console = Console::new(null.as_fd(), null.as_fd(), null.as_fd());
    let before = cpus_of("thread-self");
    let mut within = Vec::new();
    let end = instance.run(&console, &mut |_| within.push(cpus_of("thread-self")), None);
    assert!(matches!(end, End::Exited(0)), "{end:?}");
    assert_eq!(within, [before.as_str()]);
    assert_eq!(cpus_of("thread-self"), before);
}
