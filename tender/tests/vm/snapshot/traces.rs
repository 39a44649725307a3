//! Nothing of a call is left for the next one, kind by kind.

use super::calls::{
    Answer, BLOCK, How, NONE, Orders, PATIENCE, READ, Where, call, call_until, places, resume, traces,
    traces_with_input_in_heap,
};
use crate::support::no_kvm;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{PAGE, Rights};
use coracle_tender::calls::{Request, Requests};
use coracle_tender::instance::{End, Instance};
use coracle_tender::paging::leaves;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is left in all kinds of places, and looked for.
const SECRET: u64 = 0x5ec2_e7b1_7e5d_0af3;

/// Runs of addresses, and their lengths, that the guest may read.
fn readable(instance: &Instance) -> Vec<(u64, u64)> {
    let memory = instance.guest().memory();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for leaf in leaves(&memory, instance.page_table_root()).expect("sound tables") {
        let found = leaf.translation;
        if !found.user || !found.rights.contains(Rights::READ) {
            continue;
        }
        match ranges.last_mut() {
            Some((start, length)) if *start + *length == leaf.address => *length += leaf.size,
            _ => ranges.push((leaf.address, leaf.size)),
        }
    }
    ranges
}

/// How often the guest itself finds the secret in all that it may read.
fn found(instance: &mut Instance) -> u64 {
    found_of(instance, SECRET)
}

/// The same of any word.
fn found_of(instance: &mut Instance, word: u64) -> u64 {
    let ranges = readable(instance);
    let search = |orders: Orders, (start, length): &(u64, u64)| orders.search(word, *start, *length);
    let orders = ranges.iter().fold(Orders::new(), search).found();
    let words = orders.call_and_reset(instance).words();
    let (counts, registers) = words.split_at(2 * ranges.len());
    let in_memory: u64 = counts.iter().step_by(2).sum();
    // A base register holds the lower part only, and x87 registers hold some of it besides.
    let in_registers = registers.iter().filter(|found| [word, word & ((1 << 44) - 1)].contains(found));
    in_memory + in_registers.count() as u64
}

/// An instance that is clean, and where things are in it.
fn clean() -> (Instance, Where) {
    let mut instance = resume(&traces());
    let place = places(&mut instance);
    (instance, place)
}

/// A range is filled with the secret in one call, which finds it there, and the next finds it nowhere.
fn nothing_is_left_in(range: impl Fn(&Instance, &Where) -> (u64, u64)) {
    if no_kvm() {
        return;
    }
    let (mut instance, place) = clean();
    let (start, length) = range(&instance, &place);
    for _ in 0..3 {
        let orders = Orders::new().fill(start, length, SECRET).search(SECRET, start, length);
        let words = orders.call_and_reset(&mut instance).words();
        assert_eq!(words, [length / 8, start], "the call itself finds what it wrote");
        assert_eq!(found(&mut instance), 0);
    }
}

#[test]
fn what_a_call_writes_to_the_heap_is_not_there_in_the_next() {
    nothing_is_left_in(|_, place| (place.block + 5 * PAGE, BLOCK - 5 * PAGE));
}

#[test]
fn what_a_call_writes_to_the_end_of_the_heap_is_not_there_in_the_next() {
    nothing_is_left_in(|instance, _| (instance.places().heap.end() - 3 * PAGE, 3 * PAGE));
}

#[test]
fn what_a_call_writes_deep_in_the_stack_is_not_there_in_the_next() {
    nothing_is_left_in(|instance, _| {
        let stack = instance.places().stack;
        (stack.start, stack.length - 64 * PAGE)
    });
}

#[test]
fn what_a_call_writes_to_static_memory_is_not_there_in_the_next() {
    nothing_is_left_in(|_, place| (place.zeros, 2048 * 8));
    nothing_is_left_in(|_, place| (place.constants, 512 * 8));
}

#[test]
fn what_a_call_writes_to_its_thread_local_memory_is_not_there_in_the_next() {
    // The thread's own block begins with its address and, further on, has the canary: what lies behind
    // those is not used.
    nothing_is_left_in(|_, place| (place.thread + 256, 256));
}

/// Wherever the invocation lies, what it brought and the call has copied is nowhere in the next.
fn nothing_is_left_of_the_invocation_in(range: impl Fn(&Instance, &Where) -> (u64, u64)) {
    if no_kvm() {
        return;
    }
    for snapshot in [traces(), traces_with_input_in_heap()] {
        let mut instance = resume(&snapshot);
        let place = places(&mut instance);
        let (start, length) = range(&instance, &place);
        for index in 0..6 {
            let own = Orders::new().invocation(start, length).call_and_reset(&mut instance).words();
            assert_eq!(found_of(&mut instance, own[index]), 0, "word {index} of {own:x?}");
        }
    }
}

#[test]
fn an_invocation_that_a_call_copies_to_the_heap_is_not_there_in_the_next() {
    nothing_is_left_of_the_invocation_in(|_, place| (place.block + 7 * PAGE, 100 * PAGE));
}

#[test]
fn an_invocation_that_a_call_copies_to_the_stack_is_not_there_in_the_next() {
    nothing_is_left_of_the_invocation_in(|instance, _| (instance.places().stack.start, 100 * PAGE));
}

#[test]
fn the_end_of_an_input_is_not_there_in_the_next_call_with_a_shorter_one() {
    if no_kvm() {
        return;
    }
    for snapshot in [traces(), traces_with_input_in_heap()] {
        let mut instance = resume(&snapshot);
        let mut input = Orders::new().bytes();
        // All that its buffer holds.
        while input.len() < 4096 {
            input.extend(SECRET.to_le_bytes());
        }
        for _ in 0..3 {
            call(&mut instance, &input).words();
            instance.reset().expect("the instance can be used again");
            assert_eq!(found(&mut instance), 0);
        }
    }
}

/// What the guest found in its registers when it went on.
fn registers(instance: &mut Instance) -> Vec<u64> {
    Orders::new().found().call_and_reset(instance).words()
}

/// Leaves the secret in all registers and ends so, again and again.
fn no_register_is_left_by(how: How, is_right: fn(&End) -> bool) {
    if no_kvm() {
        return;
    }
    let snapshot = traces();
    let fresh = registers(&mut resume(&snapshot));
    let mut instance = resume(&snapshot);
    for _ in 0..3 {
        let orders = Orders::new().registers(SECRET, how);
        let limit = match how {
            How::ComputesForEver | How::CallsForEver => Duration::from_millis(20),
            How::Responds | How::Faults | How::Exits | How::ReadsPort => PATIENCE,
        };
        let answer = call_until(&mut instance, &orders.bytes(), Instant::now() + limit, None);
        assert!(is_right(&answer.end), "{how:?}: {:?}", answer.end);
        instance.reset().expect("the instance can be used again");
        assert_eq!(found(&mut instance), 0);
        assert!(registers(&mut instance) == fresh, "a register is not what it is in a fresh instance");
    }
}

#[test]
fn no_register_is_left_by_a_call_that_responds() {
    no_register_is_left_by(How::Responds, |end| matches!(end, End::Responded));
}

#[test]
fn no_register_is_left_by_a_call_that_is_stopped_while_it_computes() {
    no_register_is_left_by(How::ComputesForEver, |end| matches!(end, End::TimedOut));
}

#[test]
fn no_register_is_left_by_a_call_that_is_stopped_while_it_calls() {
    no_register_is_left_by(How::CallsForEver, |end| matches!(end, End::TimedOut));
}

#[test]
fn no_register_is_left_by_a_call_that_ends_in_a_fault() {
    no_register_is_left_by(How::Faults, |end| matches!(end, End::Faulted(_)));
}

#[test]
fn no_register_is_left_by_a_call_that_exits() {
    no_register_is_left_by(How::Exits, |end| matches!(end, End::Exited(7)));
}

/// KVM completes such an instruction when the vCPU runs next.
#[test]
fn no_register_is_left_by_a_call_that_ends_within_an_instruction() {
    no_register_is_left_by(How::ReadsPort, |end| matches!(end, End::Port { write: false, .. }));
}

/// Words of [`registers`]: the area of `xsave`, then rax, rbx and so on.
const FIRST_REGISTER: usize = 4096 / 8;

#[test]
fn a_call_begins_with_the_registers_that_the_snapshot_has() {
    if no_kvm() {
        return;
    }
    let found = registers(&mut resume(&traces()));
    let (area, registers) = found.split_at(FIRST_REGISTER);
    assert_eq!(area[0] as u16, 0x0b7f, "the x87 control word");
    assert_eq!(area[3] as u32, 0xffbf, "MXCSR");
    let pattern = 0x5a5a_1234_5678_9abc;
    assert_eq!(area[4], pattern, "ST0");
    assert!(area[20..52].iter().all(|word| *word == pattern), "XMM0 to XMM15");
    assert_eq!(registers[0], 0, "rax: the call's result");
    assert_eq!([registers[1], registers[7]], [0x1b1b_1b1b, 0x4e4e_4e4e], "rbx, rbp");
    let last = [0x8282_8282, 0x9393_9393, 0xa4a4_a4a4, 0xb5b5_b5b5];
    assert_eq!(registers[12..16], last, "r12 to r15");
}

#[test]
fn a_subscription_ends_with_its_call() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let ask = |orders: Orders, instance: &mut Instance| -> Answer {
        let requests = Arc::new(Requests::default());
        requests.make(Request::Interrupt);
        let deadline = Instant::now() + PATIENCE;
        let answer = call_until(instance, &orders.bytes(), deadline, Some(&requests));
        instance.reset().expect("the instance can be used again");
        answer
    };
    Orders::new().subscribe().call_and_reset(&mut instance).words();
    let answer = ask(Orders::new(), &mut instance);
    assert!(matches!(answer.end, End::Asked(Request::Interrupt)), "{:?}", answer.end);
}

#[test]
fn a_request_to_one_call_is_not_made_to_the_next() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let requests = Arc::new(Requests::default());
    requests.make(Request::Terminate);
    let answer = call_until(&mut instance, &[0; 8], Instant::now() + PATIENCE, Some(&requests));
    assert!(matches!(answer.end, End::Asked(Request::Terminate)), "{:?}", answer.end);
    instance.reset().expect("the instance can be used again");
    Orders::new().call_and_reset(&mut instance).words();
    let events = Orders::new().subscribe().call_and_reset(&mut instance).words();
    assert_eq!(events, [0]);
}

#[test]
fn the_time_limit_of_a_call_is_not_that_of_the_next() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let forever = Orders::new().registers(1, How::ComputesForEver).bytes();
    let answer = call_until(&mut instance, &forever, Instant::now() + Duration::from_millis(5), None);
    assert!(matches!(answer.end, End::TimedOut), "{:?}", answer.end);
    instance.reset().expect("the instance can be used again");
    let place = places(&mut instance);
    Orders::new().search(SECRET, place.block, BLOCK).call_and_reset(&mut instance).words();
}

#[test]
fn an_instance_that_was_not_reset_is_not_run_again() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    assert!(matches!(Orders::new().exit(7).call(&mut instance).end, End::Exited(7)));
    let answer = Orders::new().places().call(&mut instance);
    assert!(matches!(answer.end, End::Exited(7)), "{:?}", answer.end);
    assert!(answer.output.is_empty());
    instance.reset().expect("the instance can be used again");
    places(&mut instance);
}

#[test]
fn input_that_a_call_left_unread_is_not_the_next_ones() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let mut input = Orders::new().more_input().bytes();
    input.resize(5000, 9);
    let answer = call(&mut instance, &input);
    instance.reset().expect("the instance can be used again");
    assert_eq!(answer.words(), [64], "there is more input than the guest has taken");
    let answer = Orders::new().more_input().call_and_reset(&mut instance);
    assert_eq!(answer.words(), [0]);
}

#[test]
fn a_reply_of_the_host_is_not_there_in_the_next_call() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let answer = Orders::new().ask_host().reply().call_and_reset(&mut instance);
    assert_eq!(answer.words(), [100, 64]);
    assert_eq!(Orders::new().reply().call_and_reset(&mut instance).words(), [0]);
}

#[test]
fn what_a_call_says_is_said_in_that_call_alone() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    let answer = Orders::new().say(SECRET).call_and_reset(&mut instance);
    assert!(answer.said.len() > 16 && answer.output.len() == 8);
    let answer = Orders::new().call_and_reset(&mut instance);
    assert!(answer.said.is_empty() && answer.output.is_empty());
}

#[test]
fn the_clock_does_not_tell_how_often_other_calls_have_asked_it() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    for _ in 0..3 {
        let sequences = Orders::new().clock().clock().call_and_reset(&mut instance).words();
        assert_eq!(sequences, [2, 4]);
    }
}

#[test]
fn a_guest_is_ready_once_in_each_call() {
    if no_kvm() {
        return;
    }
    let (mut instance, _) = clean();
    for _ in 0..3 {
        let answer = Orders::new().ready().call_and_reset(&mut instance).words();
        assert_eq!(answer, [CallError::Denied.to_result() as u64]);
    }
}

#[test]
fn of_a_call_that_does_all_of_it_and_however_it_ends_nothing_is_left() {
    if no_kvm() {
        return;
    }
    let snapshot = traces();
    let mut instance = resume(&snapshot);
    let fresh = registers(&mut instance);
    let place = places(&mut instance);
    let stack = instance.places().stack;
    let ends: [fn(Orders) -> Orders; 7] = [
        |orders| orders.registers(SECRET, How::Responds),
        |orders| orders.registers(SECRET, How::Faults),
        |orders| orders.registers(SECRET, How::Exits),
        |orders| orders.registers(SECRET, How::CallsForEver),
        Orders::panic,
        Orders::fail,
        |orders| orders.exit(1),
    ];
    for end in ends {
        let orders = Orders::new()
            .fill(place.block + 7 * PAGE, 100 * PAGE, SECRET)
            .fill(place.block + BLOCK - 9 * PAGE, 9 * PAGE, SECRET)
            .fill(stack.start, PAGE, SECRET)
            .fill(place.zeros, 2048 * 8, SECRET)
            .fill(place.constants, 512 * 8, SECRET)
            .rights(place.block + 8 * PAGE, PAGE, NONE)
            .rights(place.block + BLOCK - 5 * PAGE, PAGE, READ)
            .code(place.block + 20 * PAGE)
            .subscribe()
            .say(SECRET)
            .ask_host()
            .clock();
        let deadline = Instant::now() + Duration::from_millis(500);
        call_until(&mut instance, &end(orders).bytes(), deadline, None);
        instance.reset().expect("the instance can be used again");
        assert_eq!(found(&mut instance), 0);
        assert!(registers(&mut instance) == fresh, "a register is not what it is in a fresh instance");
    }
}
