//! Does what its input says: a word, and after a space what that is done with.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use coracle::call::Bytes;
use coracle::event::{EventSources, wait};
use coracle::hypercall::call::{Call, MAX_BYTES};
use coracle::hypercall::console::{MAX_SLICES, Stream};
use coracle::hypercall::error::CallError;
use coracle::hypercall::invocation::{HostRequest, Outcome};
use coracle::hypercall::log::Level;
use coracle::hypercall::memory::GuestSlice;
use coracle::memory::{PAGE, Rights, set_rights};
use coracle::time::Instant;
use coracle::{call, eprintln, host, instance, print, process};
use core::alloc::Layout;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};
use guests::hostile;

/// How many calls this machine has seen.
static CALLS: AtomicU32 = AtomicU32::new(0);

#[coracle::handler]
fn obey(input: &[u8]) -> Result<Vec<u8>, String> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let end = input.iter().position(|byte| *byte == b' ').unwrap_or(input.len());
    let (word, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let text = || String::from_utf8_lossy(rest).into_owned();
    match word {
        b"echo" => Ok(rest.to_vec()),
        b"calls" => Ok(calls.to_string().into()),
        b"identity" => Ok(instance::identity().expect("it is ready").to_vec()),
        b"length" => Ok(input.len().to_string().into()),
        b"fail" => Err(text()),
        b"panic" => panic!("{}", text()),
        b"fault" => fault(),
        b"recurse" => Ok(recurse(0).to_string().into()),
        b"loop" => run_for_ever(),
        b"cpuid" => loop {
            core::hint::black_box(core::arch::x86_64::__cpuid(0));
        },
        b"misaligned" => misaligned(),
        b"call" => loop {
            let _ = call::nothing();
        },
        b"wait" => loop {
            let _ = wait(EventSources::empty(), None);
        },
        b"subscribed" => {
            // A deadline that has passed: subscribes, and does not wait.
            let _ = wait(EventSources::TERMINATE, Some(Instant::now()));
            run_for_ever()
        }
        b"heap" => Ok(fill_heap(number(rest)).to_string().into()),
        b"output" => Ok(vec![b'x'; number(rest)]),
        b"print" => {
            print!("{}", text());
            Ok(Vec::new())
        }
        b"complain" => {
            eprintln!("{}", text());
            Ok(b"and went on".to_vec())
        }
        b"log" => {
            let _ = call::log(Level::Info, "guest", &text());
            Ok(Vec::new())
        }
        b"exit" => process::exit(number(rest) as i32),
        b"flood" => flood(rest),
        b"respond" => Ok(respond(number(rest)).into()),
        b"host" => ask_host(rest),
        b"host-refused" => Ok(ask_host_in_vain(rest).into()),
        b"host-reply" => copy_reply_for_ever(rest),
        b"draw" => {
            draw(number(rest));
            Ok(Vec::new())
        }
        b"host-and-loop" => {
            let _ = ask_host(rest);
            run_for_ever()
        }
        _ => Err(format!("no such command: {}", String::from_utf8_lossy(word))),
    }
}

/// Calls the function of the host that the text begins with, with what follows.
fn ask_host(text: &[u8]) -> Result<Vec<u8>, String> {
    let (name, argument) = text.split_at(text.iter().position(|byte| *byte == b' ').unwrap_or(text.len()));
    let name = core::str::from_utf8(name).expect("a name");
    host::call_bytes(name, argument.get(1..).unwrap_or_default()).map_err(|error| error.to_string())
}

/// Writes 64 MiB to standard error so often, or for ever.
fn flood(times: &[u8]) -> Result<Vec<u8>, String> {
    let piece = vec![b'!'; 1 << 20];
    let all = [Bytes::from(&piece[..]); 64];
    let times = if times.is_empty() { usize::MAX } else { number(times) };
    for _ in 0..times {
        call::console_write(Stream::Error, &all).map_err(|error| error.to_string())?;
    }
    Ok(Vec::new())
}

/// Responds with so many bytes at once, from as few as can be. Where that is refused, gives the reason.
fn respond(length: usize) -> String {
    let piece = vec![b'x'; length.div_ceil(MAX_SLICES as usize).max(1)];
    let mut left = length;
    let slices = core::iter::from_fn(|| {
        let part = &piece[..left.min(piece.len())];
        left -= part.len();
        (!part.is_empty()).then_some(Bytes::from(part))
    });
    let slices: Vec<Bytes<'_>> = slices.collect();
    format!("{:?}", call::respond(Outcome::Done, &slices))
}

/// Calls the function of the host, and has its reply copied for ever.
fn copy_reply_for_ever(name: &[u8]) -> ! {
    let name = core::str::from_utf8(name).expect("a name");
    let (_, length) = call::host(name, &[], &mut []).expect("a reply");
    // Where nothing was before: that takes longest.
    let mut buffer = Vec::<u8>::with_capacity(length);
    let address = buffer.as_mut_ptr().expose_provenance() as u64;
    loop {
        // SAFETY: there is room for so many bytes.
        unsafe { call::raw(Call::HostReply as u64, 0, address, length as u64, 0) };
    }
}

/// Draws so many random bytes at once, and forgets them.
fn draw(length: usize) {
    // Where nothing was before, so that all the time goes by in this call.
    let mut buffer = Vec::<u8>::with_capacity(length);
    let address = buffer.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: there is room for so many bytes.
    let answer = unsafe { call::raw(Call::Entropy as u64, address, length as u64, 0, 0) };
    CallError::check(answer).expect("random bytes");
}

/// Calls the function of the host with buffers for its reply that are not there, or not the guest's to write, and
/// with a request that cannot be written. Gives the answers.
fn ask_host_in_vain(name: &[u8]) -> String {
    let end = hostile::arena().end().expect("an address").0;
    let address = |bytes: &[u8]| bytes.as_ptr().expose_provenance() as u64;
    let mut request = HostRequest {
        name: GuestSlice::new(address(name), name.len() as u64),
        argument: GuestSlice::new(0, 0),
        buffer: GuestSlice::new(0, 0),
        length: 0,
    };
    let ask = |request: *const HostRequest| {
        // SAFETY: where the tender writes at all, it writes to the request's length.
        let answer = unsafe { call::raw(Call::Host as u64, request.expose_provenance() as u64, 0, 0, 0) };
        format!("{:?}", CallError::check(answer))
    };
    let mut answers = Vec::new();
    for (place, length) in [
        (0x10, 8),
        ((&raw const hostile::CONSTANT).expose_provenance() as u64, 8),
        (obey as *const () as u64, 8),
        // What cannot be written begins within.
        (end - 8, 16),
        (u64::MAX - 7, 8),
        (u64::MAX - 7, 16),
        (end - 8, MAX_BYTES + 1),
    ] {
        request.buffer = GuestSlice::new(place, length);
        answers.push(ask(&raw const request));
    }
    request.buffer = GuestSlice::new(0, 0);
    let layout = Layout::from_size_align(PAGE as usize, PAGE as usize).expect("a page");
    // SAFETY: the page is this function's own, and given up for ever.
    unsafe {
        let page = alloc::alloc::alloc(layout);
        page.cast::<HostRequest>().write(request);
        set_rights(page, PAGE as usize, Rights::READ).expect("the page lies in the heap");
        answers.push(ask(page.cast()));
    }
    answers.join(" ")
}

fn number(text: &[u8]) -> usize {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// Reads what is not aligned, again and again with the flag that asks the CPU to mind that.
fn misaligned() -> ! {
    let words = [0u64; 2];
    loop {
        // SAFETY: the reads are of the array, and the stack pointer is what it was.
        unsafe {
            core::arch::asm!(
                "pushfq",
                "or dword ptr [rsp], 0x40000",
                "popfq",
                "mov {scratch:e}, [{words} + 1]",
                words = in(reg) words.as_ptr(),
                scratch = out(reg) _,
            );
        }
    }
}

fn run_for_ever() -> ! {
    loop {
        black_box(());
    }
}

fn fault() -> ! {
    // SAFETY: none: that page is not there, which is what this is for.
    unsafe { core::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
    unreachable!("the write has faulted");
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[0] }
}

/// Touches so many bytes of heap.
fn fill_heap(length: usize) -> usize {
    let memory = vec![1_u8; length];
    black_box(&memory).iter().map(|byte| usize::from(*byte)).sum()
}
