//! Damaged images, run for real: nothing starts, or a guest ends as guests end.

use crate::lane::times;
use crate::scratch::Scratch;
use crate::support::{example, no_kvm, output, run, stderr, stdout};
use coracle_hypercall::exit;
use proptest::test_runner::{Config, TestRunner};
use std::path::PathBuf;

/// The statuses with which a guest ends that hello may have become, beside its own.
const ENDS: [u8; 7] = [
    exit::TENDER,
    exit::PANIC,
    exit::TIMEOUT,
    exit::ILLEGAL_INSTRUCTION,
    exit::TRAP,
    exit::ARITHMETIC,
    exit::BAD_ACCESS,
];

fn hello() -> Vec<u8> {
    std::fs::read(example("stripped", "hello")).expect("hello")
}

/// The length of the ELF header and of the program headers behind it.
fn headers(image: &[u8]) -> usize {
    64 + 56 * usize::from(image[56])
}

/// How many random cases the long runs of `cargo xtask nightly` ask for.
fn proptest_cases() -> Option<u32> {
    let cases = std::env::var("CORACLE_PROPTEST_CASES").ok()?;
    Some(cases.parse().expect("CORACLE_PROPTEST_CASES is a number"))
}

/// Runs a damaged hello. That it ends at all shows that nothing hangs; that it has a status, that the
/// tender did not die of a signal.
fn run_damaged(image: PathBuf) -> i32 {
    let ended = output(run::<&str>(&["--timeout", "2s"], image, &[]));
    let status = ended.status.code().expect("no signal ends the tender");
    // The status is a guest's panic only with the tender's report of it, else the tender's own.
    let told = stderr(&ended).contains("coracle: guest panicked");
    let panicked =
        status == i32::from(exit::PANIC) && !told || stderr(&ended).contains("panicked at tender/");
    assert!(!panicked, "the tender panicked: {}", stderr(&ended));
    if status == i32::from(exit::TENDER) {
        assert!(stderr(&ended).starts_with("coracle: "), "{}", stderr(&ended));
        assert_eq!(stdout(&ended), "");
    }
    status
}

#[test]
fn every_truncation_of_an_image_is_refused_or_ends_as_guests_do() {
    if no_kvm() {
        return;
    }
    let (scratch, whole) = (Scratch::new(), hello());
    // Behind the headers, one in 64 but in the long runs.
    let step = if proptest_cases().is_some() { 1 } else { 64 };
    let each = headers(&whole).div_ceil(times(headers(&whole) as u32, 20) as usize);
    let step = step * each;
    let lengths = (0..headers(&whole)).step_by(each).chain((headers(&whole)..whole.len()).step_by(step));
    for length in lengths {
        let image = scratch.program("truncated", whole.get(..length).expect("a part"));
        let status = run_damaged(image);
        let known = status == 0 || ENDS.iter().any(|end| i32::from(*end) == status);
        assert!(known, "{length} bytes end with {status}");
    }
}

#[test]
fn an_image_with_flipped_bits_in_its_headers_is_refused_or_ends_as_guests_do() {
    if no_kvm() {
        return;
    }
    // A run of each costs what a hundred images cost that are only looked at.
    let cases = proptest_cases().map_or_else(|| times(200, 10), |cases| cases / 100);
    let (scratch, whole) = (Scratch::new(), hello());
    let headers = headers(&whole);
    let flips = proptest::collection::vec((0..headers, 0..8_u32), 1..4);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&flips, |flips| {
        let mut image = whole.clone();
        for (byte, bit) in flips {
            image[byte] ^= 1 << bit;
        }
        // Any status at all: a program that starts elsewhere may well end with one of its own.
        run_damaged(scratch.program("flipped", &image));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn memory_too_small_is_refused_with_a_size_that_is_enough() {
    if no_kvm() {
        return;
    }
    for (profile, name, arguments) in
        [("debug", "mandelbrot", &["32", "32", "10"][..]), ("stripped", "hello", &[])]
    {
        for given in ["0", "1M", "4097K"] {
            let ended = output(run(&["--mem", given], example(profile, name), arguments));
            assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{given}");
            let words = stderr(&ended);
            let enough = words.trim().rsplit("--mem ").next().expect("a size").to_owned();
            let ended = output(run(&["--mem", &enough], example(profile, name), arguments));
            assert_eq!(ended.status.code(), Some(0), "{words}, but then: {}", stderr(&ended));
        }
    }
}

#[test]
fn memory_that_no_machine_has_is_refused() {
    if no_kvm() {
        return;
    }
    for given in ["200T", "16777215T"] {
        let ended = output(run::<&str>(&["--mem", given], example("stripped", "hello"), &[]));
        assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{given}: {}", stderr(&ended));
        assert!(stderr(&ended).starts_with("coracle: "), "{}", stderr(&ended));
    }
}
