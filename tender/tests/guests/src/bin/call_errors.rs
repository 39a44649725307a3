//! Makes one call for each refusal that the contract promises, and prints where the answer is another.
#![no_std]
#![no_main]

use coracle::call::raw;
use coracle::hypercall::call::{Call, MAX_BYTES, MAX_TEXT};
use coracle::hypercall::console::MAX_SLICES;
use coracle::hypercall::error::CallError::{
    self, BadAddress, BadArgument, Denied, NoSuchCall, NoSuchFunction, TooLong,
};
use coracle::hypercall::invocation::{HostRequest, Outcome};
use coracle::hypercall::log::LogRecord;
use coracle::hypercall::memory::{GuestSlice, PAGE};
use coracle::{ExitCode, println};
use guests::boot;
use guests::hostile::{CONSTANT, arena};

type Expected = Result<u64, CallError>;

#[coracle::main]
fn main() -> ExitCode {
    let mut wrong = 0;
    let mut check = |what: &str, [number, a0, a1, a2]: [u64; 4], expected: Expected| {
        // SAFETY: where the tender writes at all, it writes to the arena.
        let answer = CallError::check(unsafe { raw(number, a0, a1, a2, 0) });
        if answer != expected {
            println!("{what}: {answer:?} instead of {expected:?}");
            wrong += 1;
        }
    };
    calls(&mut check);
    writes(&mut check);
    reads(&mut check);
    texts(&mut check);
    waits(&mut check);
    rights(&mut check);
    responses(&mut check);
    functions(&mut check);
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Check<'a> = &'a mut dyn FnMut(&str, [u64; 4], Expected);

const UNMAPPED: u64 = 0x10;
const NON_CANONICAL: u64 = 0x1234_5678_9abc_def0;
const SUPERVISOR_HALF: u64 = 0xffff_8000_0000_0000;

fn here<T>(value: &T) -> u64 {
    core::ptr::from_ref(value).expose_provenance() as u64
}

fn calls(check: Check<'_>) {
    check("nothing", [Call::Nothing as u64, 1, 2, 3], Ok(0));
    for number in [Call::ALL.len() as u64, 1 << 32, 1 << 63, u64::MAX] {
        check("an unknown call", [number, 0, 0, 0], Err(NoSuchCall));
    }
    check("clock", [Call::Clock as u64, u64::MAX, 0, 0], Ok(0));
}

fn writes(check: Check<'_>) {
    let write = Call::ConsoleWrite as u64;
    let arena = arena();
    let end = arena.address.0 + arena.length;
    let one = |slice: GuestSlice| [slice];
    check("write of nothing", [write, 1, UNMAPPED, 0], Ok(0));
    check("write of an empty buffer", [write, 1, here(&one(GuestSlice::new(NON_CANONICAL, 0))), 1], Ok(0));
    for stream in [0, 3, u64::MAX] {
        check("write to no stream", [write, stream, here(&one(arena)), 1], Err(BadArgument));
    }
    for count in [MAX_SLICES + 1, u64::MAX, i64::MIN as u64] {
        check("write of too many buffers", [write, 1, here(&one(arena)), count], Err(TooLong));
    }
    for list in [UNMAPPED, NON_CANONICAL, SUPERVISOR_HALF, end - 15, end, u64::MAX, u64::MAX - 15] {
        check("write of a list that is not there", [write, 1, list, 1], Err(BadAddress));
    }
    for (address, length) in [
        (UNMAPPED, 1),
        (NON_CANONICAL, 1),
        (SUPERVISOR_HALF, 1),
        (u64::MAX, 1),
        (u64::MAX, 2),
        (end - 1, 2),
        (end, 1),
        (boot::info().stack.address.0 - 1, 2),
    ] {
        let list = [GuestSlice::new(arena.address.0, 0), GuestSlice::new(address, length)];
        check("write of a buffer that is not there", [write, 1, here(&list), 2], Err(BadAddress));
    }
    let list = [GuestSlice::new(end - 1, 1), GuestSlice::new(here(&CONSTANT), 8)];
    check("write of the last byte and of a constant", [write, 2, here(&list), 2], Ok(9));
}

fn reads(check: Check<'_>) {
    let arena = arena();
    let end = arena.address.0 + arena.length;
    let info = boot::info();
    let places = [
        ("unmapped memory", UNMAPPED, 8),
        ("no address", NON_CANONICAL, 8),
        ("the upper half", SUPERVISOR_HALF, 8),
        ("the end of the address space", u64::MAX, 2),
        ("a constant", here(&CONSTANT), 8),
        ("code", main as *const () as u64, 1),
        ("the boot page", here(info), 1),
        ("the clock page", info.clock.0, 8),
        ("the entry page", info.entry.0, 8),
        ("the image's first page", info.image.address.0, 1),
        ("across the heap's end", end - 1, 2),
        ("beyond the heap's end", end, 1),
        ("before the stack", info.stack.address.0 - 1, 1),
    ];
    for call in [Call::ConsoleRead as u64, Call::Entropy as u64] {
        for (name, address, length) in places {
            check(name, [call, address, length, 0], Err(BadAddress));
        }
        check("nothing, to nowhere", [call, NON_CANONICAL, 0, 0], Ok(0));
        check("up to the heap's end", [call, end - 8, 8, 0], Ok(0));
    }
    for length in [MAX_BYTES + 1, i64::MAX as u64, u64::MAX] {
        check("too much entropy", [Call::Entropy as u64, arena.address.0, length, 0], Err(TooLong));
    }
    // A refused call has had no effect.
    // SAFETY: the arena is nobody's.
    let last = || unsafe { core::ptr::with_exposed_provenance::<u64>(end as usize - 8).read_volatile() };
    let before = last();
    check("entropy across the end", [Call::Entropy as u64, end - 8, 9, 0], Err(BadAddress));
    let effect = if last() == before { 0 } else { u64::MAX };
    check("what that left behind", [Call::Nothing as u64, 0, 0, 0], Ok(effect));
}

fn texts(check: Check<'_>) {
    let log = Call::Log as u64;
    let nowhere = GuestSlice::new(UNMAPPED, 1);
    let empty = GuestSlice::new(NON_CANONICAL, 0);
    let record = |level, target, message| LogRecord { level, reserved: 0, target, message };
    check("a record that is not there", [log, UNMAPPED, 0, 0], Err(BadAddress));
    check("a record across the end", [log, arena().address.0 + arena().length - 39, 0, 0], Err(BadAddress));
    check("no level", [log, here(&record(0, empty, empty)), 0, 0], Err(BadArgument));
    check("level 6", [log, here(&record(6, empty, empty)), 0, 0], Err(BadArgument));
    check("no target", [log, here(&record(3, nowhere, empty)), 0, 0], Err(BadAddress));
    check("no message", [log, here(&record(3, empty, nowhere)), 0, 0], Err(BadAddress));
    check("empty texts", [log, here(&record(3, empty, empty)), 0, 0], Ok(0));
    let endless = GuestSlice::new(arena().address.0, u64::MAX);
    check("a text that is cut short", [log, here(&record(5, endless, empty)), 0, 0], Ok(0));
}

fn waits(check: Check<'_>) {
    let wait = Call::Wait as u64;
    check("a deadline that has passed", [wait, 0, 0, 0], Ok(0));
    for sources in [8, 1 << 63, u64::MAX] {
        check("an unknown source", [wait, sources, 0, 0], Err(BadArgument));
    }
    check("input that has ended", [wait, 1, u64::MAX, 0], Ok(1));
}

fn rights(check: Check<'_>) {
    let rights = Call::MemoryRights as u64;
    let arena = arena();
    let (start, end) = (arena.address.0, arena.address.0 + arena.length);
    let info = boot::info();
    check("no pages", [rights, start, 0, 1], Ok(0));
    check("half a page", [rights, start, PAGE / 2, 1], Err(BadArgument));
    check("an odd address", [rights, start + 1, PAGE, 1], Err(BadArgument));
    check("an unknown right", [rights, start, PAGE, 8], Err(BadArgument));
    check("write alone", [rights, start, PAGE, 2], Err(BadArgument));
    check("execute alone", [rights, start, PAGE, 4], Err(BadArgument));
    check("a range beyond all addresses", [rights, u64::MAX - PAGE + 1, PAGE, 1], Err(BadArgument));
    check("write and execute", [rights, start, PAGE, 7], Err(Denied));
    check("execute without permission", [rights, start, PAGE, 5], Err(Denied));
    for (name, address) in [
        ("rights beyond the heap's end", end),
        ("rights of unmapped memory", PAGE),
        ("rights of the image", info.image.address.0),
        ("rights of the boot page", here(info)),
        ("rights of the entry page", info.entry.0),
        ("rights of the upper half", SUPERVISOR_HALF),
    ] {
        check(name, [rights, address, PAGE, 1], Err(BadAddress));
    }
    check("rights across the heap's end", [rights, end - PAGE, 2 * PAGE, 1], Err(BadAddress));
    check("rights of the last page", [rights, end - PAGE, PAGE, 0], Ok(PAGE));
    check("entropy for what has no rights", [Call::Entropy as u64, end - 1, 1, 0], Err(BadAddress));
    check("rights given back", [rights, end - PAGE, PAGE, 3], Ok(PAGE));
    check("entropy for what has them again", [Call::Entropy as u64, end - 1, 1, 0], Ok(0));
}

fn responses(check: Check<'_>) {
    let respond = Call::Respond as u64;
    let arena = arena();
    let end = arena.address.0 + arena.length;
    let one = [GuestSlice::new(arena.address.0, 1)];
    check("no outcome", [respond, 2, here(&one), 1], Err(BadArgument));
    for outcome in [Outcome::Done as u64, Outcome::Failed as u64] {
        let list = [arena; 1 + MAX_SLICES as usize];
        check("respond with too many buffers", [respond, outcome, here(&list), MAX_SLICES + 1], Err(TooLong));
        let most = MAX_BYTES / arena.length;
        check("respond with more than 64 MiB", [respond, outcome, here(&list), most + 1], Err(TooLong));
        let endless = [GuestSlice::new(arena.address.0, u64::MAX), GuestSlice::new(arena.address.0, 1)];
        check("respond with more than there is", [respond, outcome, here(&endless), 2], Err(TooLong));
        check("respond with a list that is not there", [respond, outcome, UNMAPPED, 1], Err(BadAddress));
        let list = [one[0], GuestSlice::new(end, 1)];
        check("respond with what is not there", [respond, outcome, here(&list), 2], Err(BadAddress));
    }
    let long = [GuestSlice::new(arena.address.0, MAX_TEXT + 1)];
    check("too long a reason", [respond, Outcome::Failed as u64, here(&long), 1], Err(TooLong));
}

fn functions(check: Check<'_>) {
    let empty = GuestSlice::new(NON_CANONICAL, 0);
    let request = HostRequest { name: empty, argument: empty, buffer: empty, length: 0 };
    check("a function that nobody offers", [Call::Host as u64, here(&request), 0, 0], Err(NoSuchFunction));
    check("a request that is not there", [Call::Host as u64, UNMAPPED, 0, 0], Err(BadAddress));
    check("no reply", [Call::HostReply as u64, 0, arena().address.0, 8], Ok(0));
}
