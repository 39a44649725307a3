//! What a call has written costs later ones nothing.

use super::calls::{BLOCK, Orders, places, resume, traces};
use super::sharing::private_pages;
use crate::support::{is_process, no_kvm, no_kvm_for, no_watching};
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::{Instance, Reset};

/// Whether nothing tells which pages are written.
#[track_caller]
fn no_log() -> bool {
    if is_process() { no_watching() } else { no_kvm() }
}

/// More resets than it takes until pages are let go.
const SOME: usize = 12;

/// Does nothing, and resets.
fn idle(instance: &mut Instance) -> Reset {
    Orders::new().call(instance).words();
    instance.reset().expect("the instance can be used again")
}

/// An instance that has settled, where its block is, and how many pages an idle call of it copies.
fn settled() -> (Instance, u64, usize) {
    let mut instance = resume(&traces());
    let block = places(&mut instance).block;
    let last = (0..SOME).map(|_| idle(&mut instance)).last().expect("some");
    (instance, block, last.copied)
}

#[test]
fn a_page_that_was_written_once_is_let_go_again() {
    if no_log() {
        return;
    }
    let (mut instance, block, usual) = settled();
    Orders::new().fill(block + 5 * PAGE, PAGE, 1).call(&mut instance).words();
    let reset = instance.reset().expect("the instance can be used again");
    assert_eq!(reset.copied, usual + 1);
    let later: Vec<Reset> = (0..SOME).map(|_| idle(&mut instance)).collect();
    assert_eq!(later.iter().map(|reset| reset.let_go).sum::<usize>(), 1);
    assert_eq!(later.last().map(|reset| reset.copied), Some(usual));
}

#[test]
fn a_page_that_is_written_in_every_call_is_kept_and_copied() {
    if no_log() {
        return;
    }
    let (mut instance, block, usual) = settled();
    for _ in 0..2 * SOME {
        Orders::new().fill(block + 5 * PAGE, PAGE, 1).call(&mut instance).words();
        let reset = instance.reset().expect("the instance can be used again");
        assert_eq!(reset, Reset { copied: usual + 1, let_go: 0 });
    }
}

#[test]
fn a_page_that_was_let_go_is_noticed_when_it_is_written_again() {
    if no_log() {
        return;
    }
    let (mut instance, block, _) = settled();
    let page = block + 6 * PAGE;
    let orders = Orders::new().read(page).fill(page, PAGE, u64::MAX).read(page);
    let first = orders.call_and_reset(&mut instance).words();
    assert_eq!(first[1], u64::MAX);
    for _ in 0..3 {
        let let_go: usize = (0..SOME).map(|_| idle(&mut instance).let_go).sum();
        assert!(let_go > 0);
        assert_eq!(orders.call_and_reset(&mut instance).words(), first, "what was written is not there");
    }
}

#[test]
fn after_a_call_that_wrote_a_thousand_pages_later_resets_copy_few() {
    if no_kvm_for("what is counted are private pages of the tender") {
        return;
    }
    let (mut instance, block, usual) = settled();
    let before = private_pages(&instance);
    Orders::new().fill(block + BLOCK - 1000 * PAGE, 1000 * PAGE, 1).call(&mut instance).words();
    assert!(private_pages(&instance) >= before + 1000);
    let reset = instance.reset().expect("the instance can be used again");
    assert_eq!(reset.copied, usual + 1000);
    let later: Vec<Reset> = (0..SOME).map(|_| idle(&mut instance)).collect();
    assert_eq!(later.iter().map(|reset| reset.let_go).sum::<usize>(), 1000);
    assert_eq!(later.last().map(|reset| reset.copied), Some(usual));
    // What the host kept for them is given back.
    assert!(private_pages(&instance) <= before + 8, "{before}, then {}", private_pages(&instance));
}
