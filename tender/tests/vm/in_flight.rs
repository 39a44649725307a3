//! What a guest has in registers and thread-local memory while it makes calls, waits, and is kicked.

#[path = "../guests/src/flight.rs"]
#[allow(unreachable_pub, reason = "it is a module of a library too")]
mod flight;

use crate::lane;
use crate::support::{guest, kvm_host, process_host};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::{Host, Kicker, kick_signal};
use flight::{Flight, KINDS, LENGTH};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After this time a guest counts as one that hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether this CPU has vectors of a kind.
fn has(kind: &str) -> bool {
    match kind {
        "sse2" => true,
        "avx" => is_x86_feature_detected!("avx"),
        _ => is_x86_feature_detected!("avx512f"),
    }
}

/// Kicks this thread for as long as `work` takes, again and again.
fn kicked<R>(work: impl FnOnce() -> R) -> R {
    // Its handler is installed from here on.
    let _kicker = Kicker::of_this_thread().expect("a timer");
    // SAFETY: the call has no preconditions.
    let this = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the thread lives until this scope ends, and has a handler for the signal.
                unsafe { libc::pthread_kill(this, kick_signal()) };
                std::thread::sleep(lane::delay(Duration::from_micros(300)));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// What a guest comes to while it is kicked.
fn in_guest(host: &Host, kind: &str, rounds: u64) -> Vec<u8> {
    let image = Arc::new(Image::open(&guest("in_flight")).expect("the guest is an image"));
    let arguments = ["in_flight", kind, &rounds.to_string()].map(OsString::from).to_vec();
    let config = Config { arguments, statistics: true, ..Config::default() };
    let mut instance = Instance::boot(host, &image, &config).expect("the guest boots");
    let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let mut output = tempfile::tempfile().expect("a file");
    let console = Console::new(null.as_fd(), output.as_fd(), null.as_fd());
    let end = kicked(|| instance.run(&console, &mut |_| (), Some(LIMIT)));
    assert!(matches!(end, End::Exited(0)), "{end:x?}");
    let counted = instance.statistics().expect("they were asked for").exits;
    for exit in ["kick", "wait", "nothing"] {
        assert!(counted.contains_key(exit), "no {exit}: {:?}", counted.keys());
    }
    let mut bytes = Vec::new();
    output.rewind().expect("a file");
    output.read_to_end(&mut bytes).expect("a file");
    bytes
}

#[test]
fn results_are_the_same_bits_in_this_process_in_a_locked_one_and_in_a_vm() {
    let rounds = lane::times(1 << 21, 1 << 17).into();
    let kvm = kvm_host();
    for (number, kind) in KINDS.into_iter().enumerate().filter(|(_, kind)| has(kind)) {
        let mut here = Flight::new();
        // SAFETY: the CPU has these vectors, and no calls are made.
        unsafe { here.go(number, rounds, 0) };
        assert!(here.bytes() != Flight::new().bytes() && here.bytes().len() == LENGTH);
        let same = |host: &Host| in_guest(host, kind, rounds) == here.bytes();
        assert!(same(&process_host()), "{kind}: a process comes to something else");
        assert!(kvm.as_ref().is_none_or(same), "{kind}: a VM comes to something else");
    }
}
