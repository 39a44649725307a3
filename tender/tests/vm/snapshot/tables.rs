//! Rights that a call has changed are back in the next one.

use super::calls::{
    BLOCK, How, INVOCATION_IN_BLOCK, MEMORY, NONE, Orders, READ, READ_WRITE, call_until, host, places,
    resume, take_with, traces, traces_with_input_in_heap,
};
use crate::support::no_kvm;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use coracle_tender::instance::{End, Instance, Unclean};
use coracle_tender::paging::{Leaf, leaves};
use std::time::{Duration, Instant};

/// All that the tables map.
fn mapped(instance: &Instance) -> Vec<Leaf> {
    leaves(&instance.guest().memory(), instance.page_table_root()).expect("sound tables")
}

/// An instance, what is mapped in it at the start, and where its block is.
fn clean() -> (Instance, Vec<Leaf>, u64) {
    let mut instance = resume(&traces());
    let fresh = mapped(&instance);
    let block = places(&mut instance).block;
    (instance, fresh, block)
}

/// After a call that changes rights, the next uses the page as a fresh instance can, and everything is
/// mapped as in that. Again and again.
fn rights_are_back(times: usize, change: impl Fn(Orders, u64) -> Orders, page: u64) {
    if no_kvm() {
        return;
    }
    let (mut instance, fresh, block) = clean();
    let page = block + page;
    let use_it = Orders::new().fill(page, PAGE, 1).read(page);
    for _ in 0..times {
        let results = change(Orders::new(), block).call_and_reset(&mut instance).words();
        assert!(results.iter().all(|result| matches!(result, 0 | 42)), "{results:x?}");
        assert_eq!(use_it.call(&mut instance).words(), [1]);
        assert!(mapped(&instance) == fresh, "pages are mapped otherwise than in a fresh instance");
        instance.reset().expect("the instance can be used again");
    }
}

/// A page of the first large page of the block, which has a table when the guest is ready.
const SMALL: u64 = 9 * PAGE;
/// A page of the last, which has none.
const IN_LARGE: u64 = 3 * LARGE_PAGE + 5 * PAGE;

#[test]
fn a_page_made_inaccessible_is_usable_in_the_next_call() {
    rights_are_back(3, |orders, block| orders.rights(block + SMALL, PAGE, NONE), SMALL);
}

#[test]
fn a_page_made_read_only_is_writable_in_the_next_call() {
    rights_are_back(
        3,
        |orders, block| orders.fill(block + SMALL, 8, 5).rights(block + SMALL, PAGE, READ),
        SMALL,
    );
}

#[test]
fn a_page_made_code_is_data_in_the_next_call() {
    rights_are_back(3, |orders, block| orders.code(block + SMALL), SMALL);
}

#[test]
fn large_pages_made_inaccessible_are_usable_in_the_next_call() {
    rights_are_back(3, |orders, block| orders.rights(block + 2 * LARGE_PAGE, 2 * LARGE_PAGE, NONE), IN_LARGE);
}

#[test]
fn a_page_that_could_only_be_read_when_the_guest_was_ready_is_so_in_the_next_call() {
    if no_kvm() {
        return;
    }
    let (mut instance, fresh, block) = clean();
    let page = block + PAGE;
    for _ in 0..3 {
        let write = Orders::new().rights(page, PAGE, READ_WRITE).fill(page, PAGE, 7).read(page);
        assert_eq!(write.call_and_reset(&mut instance).words(), [0, 7]);
        let answer = Orders::new().fill(page, 8, 1).call(&mut instance);
        assert!(matches!(answer.end, End::Faulted(_)), "{:?}", answer.end);
        assert!(mapped(&instance) == fresh);
        instance.reset().expect("the instance can be used again");
    }
}

/// Each of so many calls takes a page table, of which the machine has one for each large page.
const MANY: usize = 4 * (MEMORY / LARGE_PAGE) as usize;

#[test]
fn a_large_page_can_be_split_in_any_number_of_calls() {
    rights_are_back(MANY, |orders, block| orders.rights(block + IN_LARGE, PAGE, READ), IN_LARGE);
}

#[test]
fn what_a_change_of_rights_answers_does_not_tell_what_calls_before_have_split() {
    if no_kvm() {
        return;
    }
    let (mut instance, ..) = clean();
    let heap = instance.places().heap;
    let split = |orders: Orders, large: u64| orders.rights(heap.start + large * LARGE_PAGE, PAGE, READ_WRITE);
    let all = (0..heap.length / LARGE_PAGE).fold(Orders::new(), split);
    let fresh = all.call_and_reset(&mut instance).words();
    assert!(fresh.iter().all(|result| *result == 0), "every large page can be split at once: {fresh:?}");
    for _ in 0..3 {
        assert_eq!(all.call_and_reset(&mut instance).words(), fresh);
    }
}

#[test]
fn rights_are_back_though_an_instance_is_reset_twice() {
    if no_kvm() {
        return;
    }
    let (mut instance, fresh, block) = clean();
    Orders::new().rights(block + SMALL, PAGE, NONE).call_and_reset(&mut instance).words();
    instance.reset().expect("the instance can be used again");
    let answer = Orders::new().fill(block + SMALL, 8, 3).read(block + SMALL).call(&mut instance);
    assert_eq!(answer.words(), [3]);
    assert!(mapped(&instance) == fresh);
}

#[test]
fn rights_are_back_though_a_call_in_between_ended_before_it_began() {
    if no_kvm() {
        return;
    }
    let (mut instance, fresh, block) = clean();
    Orders::new().rights(block + SMALL, PAGE, READ).call_and_reset(&mut instance).words();
    let late = call_until(&mut instance, &[0; 8], Instant::now(), None);
    assert!(matches!(late.end, End::TimedOut), "{:?}", late.end);
    instance.reset().expect("the instance can be used again");
    let answer = Orders::new().fill(block + SMALL, 8, 3).read(block + SMALL).call(&mut instance);
    assert_eq!(answer.words(), [3]);
    assert!(mapped(&instance) == fresh);
}

#[test]
fn registers_do_not_tell_that_the_call_before_has_changed_rights() {
    if no_kvm() {
        return;
    }
    let (mut instance, _, block) = clean();
    let found = |instance: &mut Instance| Orders::new().found().call_and_reset(instance).words();
    let fresh = found(&mut instance);
    Orders::new().rights(block + SMALL, PAGE, READ).call_and_reset(&mut instance).words();
    assert!(found(&mut instance) == fresh);
}

#[test]
fn rights_are_back_after_a_call_that_is_stopped_while_it_changes_them() {
    if no_kvm() {
        return;
    }
    let (mut instance, fresh, block) = clean();
    let many =
        (0..100).fold(Orders::new(), |orders, page| orders.rights(block + page * 2 * PAGE, PAGE, READ));
    let bytes = many.registers(1, How::ComputesForEver).bytes();
    let write = Orders::new().fill(block + 2 * PAGE, 8, 1).fill(block + 198 * PAGE, 8, 1);
    for microseconds in (0..2000).step_by(25) {
        let deadline = Instant::now() + Duration::from_micros(microseconds);
        let answer = call_until(&mut instance, &bytes, deadline, None);
        assert!(matches!(answer.end, End::TimedOut), "{:?}", answer.end);
        instance.reset().expect("the instance can be used again");
        write.call(&mut instance).words();
        assert!(mapped(&instance) == fresh);
        instance.reset().expect("the instance can be used again");
    }
}

/// The pages in which the guest's invocation and input lie get other rights; then a call begins as in a fresh
/// instance.
fn calls_begin_after(change: impl Fn(Orders, u64) -> Orders) {
    if no_kvm() {
        return;
    }
    let mut instance = resume(&traces_with_input_in_heap());
    let fresh = mapped(&instance);
    let block = places(&mut instance).block;
    let pages = block + INVOCATION_IN_BLOCK;
    let look = Orders::new().read(pages + PAGE).invocation(block + 9 * PAGE, PAGE);
    let mut before = look.call_and_reset(&mut instance).words();
    for _ in 0..3 {
        let results = change(Orders::new(), pages).call_and_reset(&mut instance).words();
        assert!(results.iter().all(|result| matches!(result, 0 | 42)), "{results:x?}");
        let words = look.call(&mut instance).words();
        assert_eq!(words[0], before[0], "the input lies where it is to be");
        assert!(words[1..].iter().all(|word| !before.contains(word)), "the invocation is a new one");
        assert!(mapped(&instance) == fresh, "pages are mapped otherwise than in a fresh instance");
        instance.reset().expect("the instance can be used again");
        // The pages are the guest's to write, as in the first call.
        let write = Orders::new().fill(pages, 2 * PAGE, 1).read(pages).read(pages + PAGE);
        assert_eq!(write.call_and_reset(&mut instance).words(), [1, 1]);
        before = words;
    }
}

#[test]
fn a_call_begins_though_the_one_before_took_all_rights_to_its_invocation() {
    calls_begin_after(|orders, pages| orders.rights(pages, 2 * PAGE, NONE));
}

#[test]
fn a_call_begins_though_the_one_before_made_its_invocation_read_only() {
    calls_begin_after(|orders, pages| orders.rights(pages, 2 * PAGE, READ));
}

#[test]
fn a_call_begins_though_the_one_before_made_code_where_its_input_lies() {
    calls_begin_after(|orders, pages| orders.code(pages + PAGE));
}

#[test]
fn a_call_begins_though_the_one_before_took_all_rights_to_the_block_with_its_invocation() {
    calls_begin_after(|orders, pages| {
        let block = pages - INVOCATION_IN_BLOCK;
        orders.rights(block + LARGE_PAGE, BLOCK - LARGE_PAGE, NONE)
    });
}

/// Gives all pages of the block other rights.
fn change_all(block: u64) -> Orders {
    Orders::new().rights(block, BLOCK, READ).rights(block + PAGE, BLOCK - PAGE, NONE)
}

#[test]
fn all_large_pages_of_a_block_are_back_when_they_were_split_and_changed() {
    let split = |orders: Orders, block: u64| {
        let one = |orders: Orders, large: u64| orders.rights(block + large * LARGE_PAGE, PAGE, READ);
        (1..BLOCK / LARGE_PAGE).fold(orders, one).rights(block + LARGE_PAGE, BLOCK - LARGE_PAGE, NONE)
    };
    rights_are_back(3, split, IN_LARGE);
}

#[test]
fn an_instance_with_more_changes_than_can_be_undone_is_unclean_and_a_new_one_is_right() {
    if no_kvm() {
        return;
    }
    // All pages of the block have entries of their own when the guest is ready.
    let snapshot = take_with(&host(), &["traces", "split"], MEMORY);
    let mut instance = resume(&snapshot);
    let (fresh, block) = (mapped(&instance), places(&mut instance).block);
    assert_eq!(change_all(block).call(&mut instance).words(), [0, 0]);
    let result = instance.reset();
    assert!(matches!(result, Err(Unclean::Tables)), "{result:?}");
    let mut instance = resume(&snapshot);
    Orders::new().fill(block, PAGE, 1).fill(block + BLOCK - PAGE, PAGE, 1).call(&mut instance).words();
    assert!(mapped(&instance) == fresh);
}
