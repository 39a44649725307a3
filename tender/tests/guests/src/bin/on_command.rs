//! Does what its input says: a word, and after a space what that is done with.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use coracle::event::{EventSources, wait};
use coracle::hypercall::log::Level;
use coracle::time::Instant;
use coracle::{call, eprintln, host, instance, print, process};
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

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
        b"host" => ask_host(rest),
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

fn number(text: &[u8]) -> usize {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a number")
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
