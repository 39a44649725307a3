//! Runs machine code: `run_code CODE [OFFSET]`, the code in hexadecimal, the offset within a page at
//! which it is put in decimal. It finds the address of 4 KiB that it may write in rdi and rsi, and
//! the page that it is in, full of breakpoints, in rdx.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use coracle::memory::{PAGE, Rights, set_rights};
use coracle::{ExitCode, env};
use core::alloc::Layout;

coracle::permissions!(CODE_AT_RUN_TIME);

#[coracle::main]
fn main() -> ExitCode {
    let Some(code) = env::args().nth(1) else { return ExitCode::from(2) };
    let digits = code.as_bytes().chunks_exact(2).map(|pair| core::str::from_utf8(pair).unwrap());
    let code: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    let offset = env::args().nth(2).map_or(0, |offset| offset.parse::<usize>().unwrap());
    let page = PAGE as usize;
    assert!(offset + code.len() <= page);
    let layout = Layout::from_size_align(page, page).unwrap();
    // SAFETY: both allocations are whole pages, and nothing else refers to them. What the code does
    // is for the machine to judge.
    unsafe {
        let memory = alloc::alloc::alloc(layout);
        let buffer = alloc::alloc::alloc_zeroed(layout);
        memory.write_bytes(0xcc, page);
        memory.add(offset).copy_from_nonoverlapping(code.as_ptr(), code.len());
        set_rights(memory, page, Rights::READ | Rights::EXECUTE).unwrap();
        let code: extern "C" fn(*mut u8, *mut u8, *mut u8) = core::mem::transmute(memory.add(offset));
        code(buffer, buffer, memory);
    }
    ExitCode::SUCCESS
}
