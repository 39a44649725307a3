//! Guests that fault again and again, if they could.

use crate::support::{guest, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use std::time::{Duration, Instant};

/// A guest has no way to handle a fault: its first one is its end. So a loop of faults ends at once,
/// and not when its time is up.
#[test]
fn an_endless_loop_of_faults_ends_with_the_first() {
    if no_kvm() {
        return;
    }
    for (fault, status) in [
        ("instruction", exit::ILLEGAL_INSTRUCTION),
        ("read", exit::BAD_ACCESS),
        ("write", exit::BAD_ACCESS),
        ("division", exit::ARITHMETIC),
        ("breakpoint", exit::TRAP),
        ("stack", exit::BAD_ACCESS),
    ] {
        let begin = Instant::now();
        let ended = output(run(&["--timeout", "100s"], guest("fault_loop"), &[fault]));
        assert_eq!(ended.status.code(), Some(status.into()), "{fault}: {}", stderr(&ended));
        assert_eq!(stdout(&ended), "ready\n", "{fault}");
        assert!(begin.elapsed() < Duration::from_secs(50), "{fault} ended after {:?}", begin.elapsed());
    }
}
