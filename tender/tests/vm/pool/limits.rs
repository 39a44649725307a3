//! Limits: time, memory and output.

use super::{LONG, NONE, pool_of, snapshot, snapshot_with, text};
use crate::lane;
use crate::library::alone;
use crate::support::{guest, is_process, no_kvm};
use coracle_tender::pool::{Builder, CallError, Limits, Overrun, Pool};
use futures_executor::block_on;
use std::path::Path;
use std::time::{Duration, Instant};

/// What each of these does, it does for ever.
const WITHOUT_END: [&[u8]; 5] = [b"loop", b"call", b"wait", b"subscribed", b"cpuid"];

#[test]
fn a_guest_without_end_costs_its_caller_the_deadline_whatever_it_does() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(4);
    let limit = Duration::from_millis(30);
    for input in WITHOUT_END {
        for error in [
            pool.call(input, Limits::new().time(limit)).expect_err("it has no end"),
            block_on(pool.call_async(input, Limits::new().time(limit))).expect_err("it has no end"),
        ] {
            assert!(matches!(error, CallError::Overran(Overrun::Time(time)) if time == limit), "{error:?}");
        }
    }
    assert_eq!(text(pool.call(b"echo on", NONE).expect("an answer")), "on");
}

/// For how long a thread and its guests' processes have waited for a CPU, by what the kernel says of them.
fn waited(thread: &Path) -> Duration {
    // A process stops when it has one.
    let children = std::fs::read_to_string(thread.join("children")).unwrap_or_default();
    let children = children.split_whitespace().map(|child| Path::new("/proc").join(child));
    let all = children.chain([thread.to_owned()]);
    all.map(|one| {
        // Nanoseconds on a CPU, nanoseconds of waiting for one, turns. Not every kernel counts.
        let counts = std::fs::read_to_string(one.join("schedstat")).ok();
        let waited = counts.and_then(|counts| counts.split(' ').nth(1)?.parse().ok());
        Duration::from_nanos(waited.unwrap_or_default())
    })
    .sum()
}

/// The same for this thread, which makes a blocking call itself.
fn waited_here() -> Duration {
    waited(Path::new("/proc/thread-self"))
}

/// The same for all threads of this process together.
fn waited_anywhere() -> Duration {
    std::fs::read_dir("/proc/self/task")
        .expect("threads")
        .flatten()
        .map(|thread| waited(&thread.path()))
        .sum()
}

/// How much longer than the limit this takes, in the middle of so many. What it takes longer because other
/// programs have the CPUs is not ours.
fn delay(
    calls: usize,
    limit: Duration,
    waited: fn() -> Duration,
    call: impl Fn(Limits) -> Option<CallError>,
) -> Duration {
    let mut delays: Vec<_> = (0..calls)
        .filter_map(|_| {
            let (before, begin) = (waited(), Instant::now());
            let error = call(Limits::new().time(limit))?;
            let took = begin.elapsed();
            // Busy: on a machine with other work, the instance of the last call may still be on its way back.
            assert!(matches!(error, CallError::Overran(Overrun::Time(_)) | CallError::Busy(_)), "{error:?}");
            let late = took.checked_sub(limit).expect("it does not end before its time");
            Some(late.saturating_sub(waited().saturating_sub(before)))
        })
        .collect();
    assert!(delays.len() > calls / 2, "{} of {calls} calls took longer than {limit:?}", delays.len());
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn a_deadline_is_kept_within_two_milliseconds() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_within_two_milliseconds", || {
        // All threads that there will be are there: those that end take their counts with them.
        let pool = pool_of(1);
        block_on(pool.call_async(b"echo", NONE)).expect("an answer");
        let limit = Duration::from_millis(15);
        let most = lane::delay(Duration::from_millis(2));
        let call = |limits| pool.call(b"loop", limits).err();
        let blocking = delay(60, limit, waited_here, call);
        assert!(blocking < most, "{blocking:?}");
        let call = |limits| block_on(pool.call_async(b"loop", limits)).err();
        let own = delay(60, limit, waited_anywhere, call);
        assert!(own < most, "{own:?}");
    });
}

/// As much as one call of the contract moves at most.
const MUCH: usize = 64 << 20;

/// A pool with room for all of it.
fn roomy(name: &str) -> Builder {
    Pool::builder(snapshot_with(&guest(name), &[], 4 * MUCH as u64)).max(4).deadline(LONG)
}

/// A deadline in the midst of something that takes far longer is kept within two milliseconds.
fn a_deadline_is_kept(pool: &Pool, input: &[u8], limit: Duration) {
    let late = delay(20, limit, waited_here, |limits| pool.call(input, limits).err());
    assert!(late < lane::delay(Duration::from_millis(2)), "{late:?} after {limit:?}");
}

/// The same of something that has an end.
fn a_deadline_is_kept_before_the_end(pool: &Pool, input: &[u8]) {
    let whole = (0..3).map(|_| {
        let begin = Instant::now();
        pool.call(input, NONE).expect("an answer");
        begin.elapsed()
    });
    let whole = whole.min().expect("three of them");
    a_deadline_is_kept(pool, input, whole / 3);
}

#[test]
fn a_deadline_is_kept_in_whatever_moment_of_a_trap_it_comes() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    // A KVM that runs guests with the host's CR0 tells them of what is not aligned.
    let traps: &[&[u8]] = if is_process() { &[b"cpuid", b"misaligned"] } else { &[b"cpuid"] };
    for input in traps {
        for _ in 0..lane::times(500, 10) {
            let limits = Limits::new().time(Duration::from_millis(3));
            let error = pool.call(input, limits).expect_err("it has no end");
            // Busy: on a machine with other work, the instance of the last call may still be on its way back.
            assert!(matches!(error, CallError::Overran(Overrun::Time(_)) | CallError::Busy(_)), "{error:?}");
        }
    }
}

#[test]
fn a_deadline_is_kept_while_the_guest_floods_standard_error() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_while_the_guest_floods_standard_error", || {
        a_deadline_is_kept(&pool_of(4), b"flood", Duration::from_millis(20));
    });
}

#[test]
fn a_deadline_is_kept_while_input_is_copied() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_while_input_is_copied", || {
        let pool = roomy("handler_bytes").build().expect("a pool");
        a_deadline_is_kept_before_the_end(&pool, &vec![7; MUCH]);
    });
}

#[test]
fn a_deadline_is_kept_while_a_reply_of_the_host_is_copied() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_while_a_reply_of_the_host_is_copied", || {
        let pool = roomy("on_command").function_of_bytes("much", |_| Ok(vec![0; MUCH]));
        let pool = pool.build().expect("a pool");
        a_deadline_is_kept(&pool, b"host-reply much", Duration::from_millis(20));
    });
}

#[test]
fn a_deadline_is_kept_while_a_response_is_copied() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::a_deadline_is_kept_while_a_response_is_copied", || {
        let pool = roomy("on_command").build().expect("a pool");
        a_deadline_is_kept_before_the_end(&pool, format!("respond {MUCH}").as_bytes());
    });
}

#[test]
fn runaway_guests_hold_up_nobody_else() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(16);
    let runaways: Vec<_> = (0..8).map(|_| pool.call_async(b"wait", NONE)).collect();
    let begin = Instant::now();
    for _ in 0..50 {
        assert_eq!(text(block_on(pool.call_async(b"echo on", NONE)).expect("an answer")), "on");
    }
    assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    drop(runaways);
}

#[test]
fn a_guest_that_touches_more_memory_than_it_may_is_ended() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let most = 8 << 20;
    let limits = Limits::new().memory(most);
    for _ in 0..3 {
        let error = pool.call(b"heap 16777216", limits).expect_err("it is too much");
        assert!(matches!(error, CallError::Overran(Overrun::Memory(limit)) if limit == most), "{error:?}");
        assert_eq!(text(pool.call(b"heap 4194304", limits).expect("an answer")), "4194304");
        assert_eq!(text(pool.call(b"heap 16777216", NONE).expect("an answer")), "16777216");
    }
}

#[test]
fn an_input_that_needs_more_memory_than_the_limit_is_an_overrun() {
    if no_kvm() {
        return;
    }
    let pool = Pool::builder(snapshot(&guest("handler_bytes"), &[])).build().expect("a pool");
    let input = vec![7; 4 << 20];
    let error = pool.call(&input, Limits::new().memory(1 << 20)).expect_err("it is too much");
    assert!(matches!(error, CallError::Overran(Overrun::Memory(_))), "{error:?}");
    assert!(pool.call(&input, NONE).expect("an answer").bytes == input);
}

#[test]
fn an_output_may_be_as_long_as_its_limit_and_no_longer() {
    if no_kvm() {
        return;
    }
    let pool = pool_of(1);
    let limits = Limits::new().output(100_000);
    assert_eq!(pool.call(b"output 100000", limits).expect("an answer").bytes.len(), 100_000);
    let error = pool.call(b"output 100001", limits).expect_err("it is too long");
    assert!(matches!(error, CallError::Overran(Overrun::Output(100_000))), "{error:?}");
}

#[test]
fn the_limit_on_output_counts_what_the_call_puts_out_alone() {
    if no_kvm() {
        return;
    }
    let mut bytes = vec![b'-'; 1000];
    pool_of(1).call_into(b"output 10", &mut bytes, Limits::new().output(10)).expect("an answer");
    assert_eq!(bytes.len(), 1010);
}

#[test]
fn what_a_guest_writes_to_standard_error_is_kept_up_to_64_kib() {
    if no_kvm() {
        return;
    }
    let input = [b"complain ".as_slice(), &vec![b'!'; 1 << 20]].concat();
    let output = pool_of(1).call(&input, NONE).expect("an answer");
    assert_eq!(output.diagnostics.len(), 64 << 10);
}

/// The most that this process has ever had in memory, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn what_a_guest_writes_to_standard_error_without_end_takes_no_memory() {
    if no_kvm() {
        return;
    }
    alone("pool::limits::what_a_guest_writes_to_standard_error_without_end_takes_no_memory", || {
        let pool = pool_of(1);
        pool.call(b"flood 1", NONE).expect("an answer");
        let before = peak();
        // 3 GiB.
        let output = pool.call(b"flood 48", NONE).expect("an answer");
        assert_eq!(output.diagnostics.len(), 64 << 10);
        let after = peak();
        assert!(after < before + 4096, "{before} KiB, then {after} KiB");
    });
}
