//! Hostile hypercalls. The guests check the answers; that they end as they should shows that they
//! and the tender still work.

use crate::lane::times;
use crate::library::{Machine, alone};
use crate::support::{guest, is_process, no_kvm, output, run, stderr};
use coracle_hypercall::exit;
use coracle_tender::instance::End;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};

/// How many calls a random run makes: a million in the long runs of `cargo xtask nightly`.
fn fuzz_calls() -> u64 {
    match std::env::var("CORACLE_FUZZ_CALLS") {
        Ok(count) => count.parse().expect("CORACLE_FUZZ_CALLS is a number"),
        Err(_) => 50_000,
    }
}

#[test]
fn every_refusal_is_the_one_that_the_contract_promises() {
    if no_kvm() {
        return;
    }
    let ended = output(run::<&str>(&["--quiet"], guest("call_errors"), &[]));
    let wrong = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{wrong}{}", stderr(&ended));
}

#[test]
fn a_call_that_is_given_too_much_moves_what_a_call_may_move() {
    if no_kvm() {
        return;
    }
    let mut command = run::<&str>(&["--mem", "128M"], guest("long_transfer"), &[]);
    let status = command.stdout(Stdio::null()).status().expect("coracle starts");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn no_call_with_values_at_the_edge_of_what_is_allowed_does_harm() {
    if no_kvm() {
        return;
    }
    // A number that shares no factor with how many there are of any kind: so some of each are made.
    let each = 70 / times(70, 10);
    let ended = output(run(&["--quiet"], guest("hostile_calls"), &[each.to_string()]));
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stdout.ends_with(b" calls answered\n"));
}

#[test]
fn a_panic_whose_report_cannot_be_read_is_a_panic() {
    if no_kvm() {
        return;
    }
    for address in ["0", "10", "7fffffffffff", "800000000000", "ffffffffffffffff", "ffffffffffffffd8"] {
        let ended = output(run(&[], guest("panic_report"), &[address]));
        assert_eq!(ended.status.code(), Some(exit::PANIC.into()), "{address}: {}", stderr(&ended));
    }
    let ended = output(run::<&str>(&[], guest("panic_report"), &[]));
    assert_eq!(ended.status.code(), Some(exit::PANIC.into()), "{}", stderr(&ended));
}

fn random_calls(seed: &str, count: u64) -> Command {
    let mut command = run(&["--quiet"], guest("fuzz_calls"), &[seed, &count.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn no_random_call_does_harm() {
    if no_kvm() {
        return;
    }
    let status = random_calls("1", fuzz_calls()).status().expect("coracle starts");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn random_calls_leave_nothing_behind_in_the_tender() {
    if no_kvm() {
        return;
    }
    let few = most_memory(&mut random_calls("2", 1_000));
    let many = most_memory(&mut random_calls("2", fuzz_calls()));
    let growth = many.saturating_sub(few);
    // The longest texts that a guest may log take about a MiB while they are made printable.
    // In a process, what the tender has looked at of the guest's own memory counts too.
    let most = if is_process() { 8_192 } else { 2_048 };
    assert!(growth < most, "{few} KiB at most for few calls, {growth} KiB more for many");
}

/// The most memory, in KiB, that a command ever had. It must succeed.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
fn most_memory(command: &mut Command) -> i64 {
    let child = command.spawn().expect("coracle starts");
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the child has not been waited for; both pointers are to locals of the right type, and
    // zeros are a valid value of the second.
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    assert_eq!(status, 0);
    usage.ru_maxrss
}

#[test]
fn random_calls_touch_none_of_the_hosts_memory_outside_of_the_guest() {
    if no_kvm() {
        return;
    }
    alone("calls::random_calls_touch_none_of_the_hosts_memory_outside_of_the_guest", || {
        let machine = Machine::open(guest("fuzz_calls"));
        // Each is large enough to be a mapping of its own, near those made before and after it.
        let before: Vec<_> = (0..8).map(pattern).collect();
        let mut instance = machine.boot(&["3", &fuzz_calls().to_string()]);
        let after: Vec<_> = (8..16).map(pattern).collect();
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
        let null = std::os::fd::AsFd::as_fd(&null);
        let console = coracle_tender::calls::Console::new(null, null, null);
        let end = instance.run(&console, &mut |_| {}, None);
        assert!(matches!(end, End::Exited(0)), "{end:?}");
        for (seed, words) in before.iter().chain(&after).enumerate() {
            assert!(*words == pattern(seed as u64), "buffer {seed} has changed");
        }
    });
}

/// 4 MiB that depend on the seed.
fn pattern(seed: u64) -> Vec<u64> {
    (0..1 << 19).map(|index: u64| (index ^ seed << 32).wrapping_mul(0x2545_f491_4f6c_dd1d)).collect()
}
