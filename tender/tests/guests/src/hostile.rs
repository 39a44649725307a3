//! Calls that no honest program makes, harmless to the guest itself.

use crate::boot;
use coracle::call::raw;
use coracle::hypercall::call::{Call, MAX_BYTES};
use coracle::hypercall::error::CallError;
use coracle::hypercall::event::EventSources;
use coracle::hypercall::invocation::Invocation;
use coracle::hypercall::memory::{GuestAddress, GuestSlice, LARGE_PAGE, PAGE};

/// The end of the heap: memory that nobody uses, for calls to spoil.
pub fn arena() -> GuestSlice {
    let heap = boot::info().heap;
    let length = 2 * LARGE_PAGE;
    GuestSlice::new(heap.address.0 + heap.length - length, length)
}

/// The end of the image, which is writable, or of whatever else.
fn end(slice: GuestSlice) -> u64 {
    slice.address.0 + slice.length
}

/// Something in the part of the image that can only be read.
pub static CONSTANT: [u64; 16] = [0x5555_5555_5555_5555; 16];

/// How many values [`values`] gives.
pub const VALUES: usize = 50;

/// Addresses, lengths and numbers at which checks are wrong if they are.
pub fn values() -> [u64; VALUES] {
    let info = boot::info();
    let boot = (core::ptr::from_ref(info)).addr() as u64;
    let arena = arena().address.0;
    [
        0,
        1,
        2,
        7,
        8,
        64,
        65,
        PAGE,
        PAGE - 1,
        LARGE_PAGE,
        MAX_BYTES,
        MAX_BYTES + 1,
        1 << 32,
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - PAGE + 1,
        i64::MIN as u64,
        i64::MAX as u64,
        // Around the hole of addresses that are none.
        0x7fff_ffff_ffff,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        0xffff_8000_0000_0000,
        0x1234_5678_9abc_def0,
        info.image.address.0,
        info.image.address.0 - 1,
        info.image.address.0 - PAGE,
        end(info.image),
        end(info.image) - 1,
        info.image.length,
        info.stack.address.0,
        info.stack.address.0 - 1,
        end(info.stack),
        end(info.stack) - 1,
        info.stack.length,
        info.heap.address.0 - 1,
        end(info.heap),
        end(info.heap) - 1,
        end(info.heap) - PAGE,
        info.heap.length,
        arena,
        arena + 1,
        arena + PAGE,
        arena + LARGE_PAGE - 1,
        arena + LARGE_PAGE,
        boot,
        boot + PAGE - 1,
        info.clock.0,
        info.entry.0,
        info.entry.0 + PAGE - 1,
        CONSTANT.as_ptr().addr() as u64,
    ]
}

/// Whether a range lies wholly within one place of the guest and not wholly within the arena: the
/// tender may write there, and it would hurt.
fn would_hurt(address: u64, length: u64) -> bool {
    let Some(after) = address.checked_add(length) else { return false };
    let info = boot::info();
    let within = |place: GuestSlice| place.contains(GuestAddress(address)) && after <= end(place);
    length != 0 && [info.image, info.stack, info.heap].into_iter().any(within) && !within(arena())
}

/// Changes as little of a call as lets the guest survive it, if the tender grants what is asked for.
/// The machine has /dev/null for its input.
pub fn tamed([number, a0, a1, a2, a3]: [u64; 5]) -> [u64; 5] {
    let moved = arena().address.0 + a0 % PAGE;
    match Call::from_number(number) {
        Some(Call::Exit | Call::Panic) => [Call::Nothing as u64, a0, a1, a2, a3],
        // With an outcome it would end the guest too.
        Some(Call::Respond) => [number, a0 | 2, a1, a2, a3],
        Some(Call::Ready) if would_hurt(a0, size_of::<Invocation>() as u64) => [number, moved, a1, a2, a3],
        Some(Call::Entropy | Call::ConsoleRead | Call::Input) if would_hurt(a0, a1) => {
            [number, moved, a1, a2, a3]
        }
        Some(Call::MemoryRights) if would_hurt(a0, a1) => {
            let page = arena().address.0 + a0 % LARGE_PAGE / PAGE * PAGE;
            [number, page, a1, a2, a3]
        }
        // Input that has ended ends a wait for input; any other might never end.
        Some(Call::Wait) if a0 & EventSources::CONSOLE_INPUT.bits() == 0 => [number, a0, a1.min(1), a2, a3],
        _ => [number, a0, a1, a2, a3],
    }
}

/// Makes a call after it is [`tamed`], and checks what can be said of any answer.
pub fn make(call: [u64; 5]) -> Result<u64, CallError> {
    let [number, a0, a1, a2, a3] = tamed(call);
    // SAFETY: `tamed` keeps the tender from writing anywhere but to the arena.
    let result = unsafe { raw(number, a0, a1, a2, a3) };
    let known =
        CallError::ALL.iter().any(|error| error.to_result() == result && *error != CallError::Unknown);
    assert!(result >= 0 || known, "call {number}({a0:#x}, {a1:#x}, {a2:#x}, {a3:#x}) answered {result:#x}");
    let unknown_call = result == CallError::NoSuchCall.to_result();
    assert_eq!(unknown_call, Call::from_number(number).is_none(), "call {number} answered {result}");
    CallError::check(result)
}
