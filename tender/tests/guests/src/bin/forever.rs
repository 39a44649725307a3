//! Does for ever what its first argument names. Says "ready" before.
//!
//! With a second argument, whatever it is, it subscribes to SIGINT and SIGTERM, and ends with status
//! 7 or 8 when one of them is there.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use coracle::event::{EventSources, wait};
use coracle::hypercall::error::CallError;
use coracle::io::{Error, Read, Write, stdin, stdout};
use coracle::time::{Duration, Instant, sleep};
use coracle::{ExitCode, call, env, println};

const REQUESTS: EventSources = EventSources::INTERRUPT.union(EventSources::TERMINATE);

#[coracle::main]
fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let what = arguments.next();
    let subscribed = arguments.next().is_some();
    if subscribed {
        // A deadline that has passed: subscribes, and does not wait.
        assert_eq!(wait(REQUESTS, Some(Instant::now())), Ok(EventSources::empty()));
    }
    println!("ready");
    match what.as_deref() {
        Some("compute") => compute(subscribed),
        Some("call") => call_again_and_again(subscribed),
        Some("log") => log_again_and_again(),
        Some("wait") => wait_in_vain(subscribed),
        Some("sleep") => sleep(Duration::from_secs(1_000_000)),
        Some("read") => read(),
        Some("write") => write(),
        _ => return ExitCode::from(2),
    }
    status_of_event()
}

/// Ends for whatever event is there; fails if there is none.
fn status_of_event() -> ExitCode {
    match wait(REQUESTS, Some(Instant::now())) {
        Ok(EventSources::INTERRUPT) => ExitCode::from(7),
        Ok(EventSources::TERMINATE) => ExitCode::from(8),
        _ => ExitCode::FAILURE,
    }
}

/// Ends for an event if one is there. The deadline has passed, so it does not wait.
fn end_for_event() {
    match wait(REQUESTS, Some(Instant::now())) {
        Ok(EventSources::INTERRUPT) => coracle::process::exit(7),
        Ok(EventSources::TERMINATE) => coracle::process::exit(8),
        _ => {}
    }
}

fn compute(subscribed: bool) -> ! {
    let mut sum = 0_u64;
    loop {
        for number in 0..10_000_000_u64 {
            sum = core::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        if subscribed {
            end_for_event();
        }
    }
}

fn call_again_and_again(subscribed: bool) -> ! {
    loop {
        let _ = call::nothing();
        if subscribed {
            end_for_event();
        }
    }
}

/// Makes calls in which the tender has much to do, so that the guest itself hardly ever runs.
fn log_again_and_again() {
    let text = "a".repeat(64 << 10);
    loop {
        let _ = call::log(coracle::hypercall::log::Level::Info, "guest", &text);
    }
}

fn wait_in_vain(subscribed: bool) {
    let sources = if subscribed { REQUESTS } else { EventSources::empty() };
    match wait(sources, None) {
        Ok(EventSources::INTERRUPT) => coracle::process::exit(7),
        Ok(EventSources::TERMINATE) => coracle::process::exit(8),
        _ => {}
    }
}

fn read() {
    let mut buffer = vec![0; 100];
    loop {
        match stdin().read(&mut buffer) {
            Ok(0) | Err(Error::Call(CallError::Interrupted)) => return,
            _ => {}
        }
    }
}

fn write() {
    let buffer = vec![b'.'; 1 << 20];
    while stdout().write_all(&buffer).is_ok() {}
}
