//! Says that it is ready, and shows what is fresh after that. With an argument, it says so twice.
#![no_std]
#![no_main]

use coracle::random::RandomState;
use coracle::time::Instant;
use coracle::{env, instance, on_resume, print, println, ready};
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicU32, Ordering};

static STEPS: AtomicU32 = AtomicU32::new(0);

fn first() {
    STEPS.store(STEPS.load(Ordering::Relaxed) * 10 + 1, Ordering::Relaxed);
    assert!(instance::identity().is_some(), "a hook knows who it is");
    on_resume(third);
}

fn second() {
    STEPS.store(STEPS.load(Ordering::Relaxed) * 10 + 2, Ordering::Relaxed);
}

fn third() {
    STEPS.store(STEPS.load(Ordering::Relaxed) * 10 + 3, Ordering::Relaxed);
}

#[coracle::main]
fn main() {
    print!("before, ");
    let (time, seed) = (Instant::now(), instance::seed());
    assert_eq!(instance::identity(), None);
    on_resume(first);
    on_resume(second);
    ready();
    println!("after: {}", STEPS.load(Ordering::Relaxed));
    assert!(Instant::now() >= time, "the clock went backwards");
    assert!(instance::seed() != seed && instance::seed() != instance::seed(), "a seed came again");
    let state = RandomState::new();
    assert_eq!(state.hash_one("word"), state.hash_one("word"));
    assert_ne!(state.hash_one("word"), RandomState::new().hash_one("word"), "keys came again");
    for byte in instance::identity().expect("it is ready") {
        print!("{byte:02x}");
    }
    println!();
    if env::args().count() > 1 {
        ready();
    }
}
