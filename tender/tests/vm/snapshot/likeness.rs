//! After a reset an instance is what a fresh one is, byte for byte, whatever its call did.

use super::calls::{BLOCK, How, NONE, Orders, READ, READ_WRITE, call_until, places, resume, traces};
use crate::lane::times;
use crate::support::no_kvm;
use coracle_hypercall::memory::PAGE;
use coracle_tender::instance::{End, Instance};
use coracle_tender::layout::{EDIT_LIST, EDIT_LIST_LENGTH, PAGE_TABLES, Places};
use coracle_tender::paging::{leaves, walk};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// One thing that a call does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Heap { page: u64, count: u64 },
    Stack { page: u64 },
    Static { word: u64 },
    Rights { page: u64, count: u64, rights: u64 },
    Code { page: u64 },
    Say,
    Subscribe,
    AskHost,
    Clock,
}

/// Pages of the block. The first is left alone: it begins what the guest searches and reads.
const PAGES: u64 = BLOCK / PAGE;

fn deed() -> impl Strategy<Value = Deed> {
    let rights = select(vec![NONE, READ, READ_WRITE]);
    prop_oneof![
        4 => (0..PAGES, 1..40_u64).prop_map(|(page, count)| Deed::Heap { page, count }),
        2 => (0..200_u64).prop_map(|page| Deed::Stack { page }),
        2 => (0..2048_u64).prop_map(|word| Deed::Static { word }),
        3 => (0..PAGES, 1..700_u64, rights).prop_map(|(page, count, rights)| Deed::Rights { page, count, rights }),
        1 => (0..PAGES).prop_map(|page| Deed::Code { page }),
        1 => Just(Deed::Say),
        1 => Just(Deed::Subscribe),
        1 => Just(Deed::AskHost),
        1 => Just(Deed::Clock),
    ]
}

fn how() -> impl Strategy<Value = How> {
    select(vec![
        How::Responds,
        How::ComputesForEver,
        How::Faults,
        How::Exits,
        How::CallsForEver,
        How::ReadsPort,
    ])
}

impl Deed {
    /// Writes may well hit pages whose rights an earlier deed has taken: then the call ends in a fault.
    fn order(self, orders: Orders, block: u64, zeros: u64, places: &Places) -> Orders {
        let end = |page: u64, count: u64| (page + count).min(PAGES) - page;
        match self {
            Deed::Heap { page, count } => {
                orders.fill(block + page * PAGE, end(page, count) * PAGE, 0x1111 * (page + 1))
            }
            Deed::Stack { page } => orders.fill(places.stack.start + page * PAGE, 64, page + 1),
            Deed::Static { word } => orders.fill(zeros + 8 * word, 8, word + 1),
            Deed::Rights { page, count, rights } => {
                orders.rights(block + page * PAGE, end(page, count) * PAGE, rights)
            }
            Deed::Code { page } => orders.code(block + page * PAGE),
            Deed::Say => orders.say(0x1234_5678_9abc_def0),
            Deed::Subscribe => orders.subscribe(),
            Deed::AskHost => orders.ask_host(),
            Deed::Clock => orders.clock(),
        }
    }
}

/// The number of the first page that differs: of all but page tables, of which counts what they map,
/// and the list of what is to be changed in them.
pub(super) fn first_difference(one: &Instance, other: &Instance) -> Option<u64> {
    // The image's first page lies right behind the tables.
    let image = walk(&other.guest().memory(), other.page_table_root(), other.places().image.start);
    let image = image.expect("sound tables").expect("the image is mapped").physical;
    let (one, other) = (one.guest().memory(), other.guest().memory());
    let tables = PAGE_TABLES..image;
    let (mut here, mut there) = ([0; PAGE as usize], [0; PAGE as usize]);
    (0..other.size() / PAGE).find(|page| {
        let address = page * PAGE;
        let list = EDIT_LIST..EDIT_LIST + EDIT_LIST_LENGTH;
        if list.contains(&address) || tables.contains(&address) {
            return false;
        }
        one.read(address, &mut here).expect("memory");
        other.read(address, &mut there).expect("memory");
        here != there
    })
}

#[test]
fn after_a_reset_memory_registers_and_tables_are_those_of_a_fresh_instance() {
    if no_kvm() {
        return;
    }
    let cases = std::env::var("CORACLE_PROPTEST_CASES").ok();
    let cases = cases.map_or_else(|| times(100, 8), |cases| cases.parse::<u32>().expect("a number") / 100);
    let snapshot = traces();
    let fresh = resume(&snapshot);
    let mapped = |instance: &Instance| leaves(&instance.guest().memory(), instance.page_table_root());
    let tables = mapped(&fresh).expect("sound tables");
    let mut instance = resume(&snapshot);
    let place = places(&mut instance);
    let found = Orders::new().found().call_and_reset(&mut instance).words();
    let instance = RefCell::new(instance);

    let deeds = (proptest::collection::vec(deed(), 0..24), how());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&deeds, |(deeds, how)| {
        let orders = deeds
            .iter()
            .fold(Orders::new(), |orders, deed| deed.order(orders, place.block, place.zeros, fresh.places()));
        let bytes = orders.registers(0x0dd5_ec2e_7b17_e5d0, how).bytes();
        let mut instance = instance.borrow_mut();
        let answer = call_until(&mut instance, &bytes, Instant::now() + Duration::from_millis(100), None);
        prop_assert!(!matches!(answer.end, End::Dead(_)), "{:?}", answer.end);
        if instance.reset().is_err() {
            *instance = resume(&snapshot);
        }
        prop_assert_eq!(first_difference(&instance, &fresh), None);
        let answer = Orders::new().found().call(&mut instance);
        prop_assert!(answer.words() == found, "registers");
        prop_assert!(mapped(&instance).expect("sound tables") == tables, "tables");
        instance.reset().expect("the instance can be used again");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
