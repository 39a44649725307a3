//! Changes rights of its own memory in the way that its argument names.
#![no_std]
#![no_main]

extern crate alloc;

use coracle::hypercall::call::Call;
use coracle::hypercall::error::CallError::{self, BadAddress, BadArgument, Denied};
use coracle::memory::{LARGE_PAGE, PAGE, Rights, set_rights};
use coracle::{ExitCode, call, env};
use core::alloc::Layout;
use core::hint::black_box;

const SMALL: usize = PAGE as usize;
const LARGE: usize = LARGE_PAGE as usize;
const NONE: Rights = Rights::empty();
const READ: Rights = Rights::READ;
const READ_WRITE: Rights = Rights::READ.union(Rights::WRITE);
const READ_EXECUTE: Rights = Rights::READ.union(Rights::EXECUTE);

#[coracle::main]
fn main() -> ExitCode {
    let way = match env::args().nth(1).as_deref() {
        Some("read-guard") => read_guard,
        Some("write-guard") => write_guard,
        Some("write-read-only") => write_read_only,
        Some("execute-read-only") => execute_read_only,
        Some("stack-guard") => stack_guard,
        Some("give-back") => give_back,
        Some("large-pages") => large_pages,
        Some("neighbours") => neighbours,
        Some("alternating") => alternating,
        Some("make-code") => make_code,
        Some("write-and-execute") => write_and_execute,
        Some("other-places") => other_places,
        Some("bad-ranges") => bad_ranges,
        _ => return ExitCode::from(2),
    };
    way();
    ExitCode::SUCCESS
}

/// Memory of the heap that nothing else uses.
fn memory(size: usize, align: usize) -> *mut u8 {
    let layout = Layout::from_size_align(size, align).unwrap();
    // SAFETY: no size is zero.
    let memory = unsafe { alloc::alloc::alloc(layout) };
    assert!(!memory.is_null());
    memory
}

fn change(start: *mut u8, length: usize, rights: Rights) {
    // SAFETY: nothing but this program's tests uses the range.
    unsafe { set_rights(start, length, rights) }.unwrap();
}

fn write(memory: *mut u8, offset: usize, value: usize) {
    // SAFETY: the range is the program's, or the machine refuses.
    unsafe { memory.add(offset).cast::<usize>().write_volatile(value) };
}

fn read(memory: *mut u8, offset: usize) -> usize {
    // SAFETY: as above.
    unsafe { memory.add(offset).cast::<usize>().read_volatile() }
}

fn read_guard() {
    let page = memory(SMALL, SMALL);
    change(page, SMALL, NONE);
    black_box(read(page, 8));
}

fn write_guard() {
    let page = memory(SMALL, SMALL);
    change(page, SMALL, NONE);
    write(page, 8, 1);
}

fn write_read_only() {
    let page = memory(SMALL, SMALL);
    write(page, 0, 42);
    change(page, SMALL, READ);
    assert_eq!(read(page, 0), 42);
    write(page, 8, 1);
}

fn execute_read_only() {
    let page = memory(SMALL, SMALL);
    write(page, 8, 0xc3);
    change(page, SMALL, READ);
    // SAFETY: none; the machine refuses.
    unsafe { core::mem::transmute::<*mut u8, extern "C" fn()>(page.add(8))() };
}

fn stack_guard() {
    let local = black_box(0_u64);
    let here = (&raw const local).expose_provenance();
    let lowest = core::ptr::with_exposed_provenance_mut((here & !(LARGE - 1)) - LARGE);
    write(lowest, 8, 1);
    change(lowest, SMALL, NONE);
    write(lowest, SMALL + 8, 1);
    write(lowest, 8, 1);
}

fn give_back() {
    const PAGES: usize = 64;
    let pages = memory(PAGES * SMALL, SMALL);
    for rights in [NONE, READ] {
        (0..PAGES).for_each(|page| write(pages, page * SMALL, page + 1));
        change(pages, PAGES * SMALL, rights);
        change(pages, PAGES * SMALL, READ_WRITE);
        for page in 0..PAGES {
            assert_eq!(read(pages, page * SMALL), page + 1);
            write(pages, page * SMALL, 0);
        }
    }
}

fn large_pages() {
    const COUNT: usize = 4;
    let pages = memory(COUNT * LARGE, LARGE);
    (0..COUNT).for_each(|page| write(pages, page * LARGE, page + 1));
    change(pages, COUNT * LARGE, NONE);
    change(pages, LARGE, READ);
    assert_eq!(read(pages, 0), 1);
    change(pages, COUNT * LARGE, READ_WRITE);
    for page in 0..COUNT {
        assert_eq!(read(pages, page * LARGE), page + 1);
        write(pages, page * LARGE + LARGE - 8, 1);
    }
    change(pages.wrapping_add(LARGE), LARGE, READ);
    write(pages, LARGE - 8, 2);
    write(pages, 2 * LARGE, 2);
    write(pages, LARGE + 8, 2);
}

fn neighbours() {
    let pages = memory(3 * SMALL, SMALL);
    change(pages.wrapping_add(SMALL), SMALL, NONE);
    write(pages, SMALL - 8, 1);
    write(pages, 2 * SMALL, 1);
}

/// So many runs of pages that one list of edits does not hold them.
fn alternating() {
    const COUNT: usize = 8;
    const PAGES: usize = COUNT * LARGE / SMALL;
    let pages = memory(COUNT * LARGE, LARGE);
    for page in (0..PAGES).step_by(2) {
        write(pages, page * SMALL, page);
        change(pages.wrapping_add(page * SMALL), SMALL, READ);
    }
    (1..PAGES).step_by(2).for_each(|page| write(pages, page * SMALL, page));
    // One call answers for a part of this only.
    let mut done = 0;
    let mut calls = 0;
    while done < COUNT * LARGE {
        let start = pages.wrapping_add(done);
        done += answer(start, COUNT * LARGE - done, READ_WRITE).unwrap();
        calls += 1;
    }
    assert!(calls > 1);
    for page in 0..PAGES {
        assert_eq!(read(pages, page * SMALL), page);
        write(pages, page * SMALL, 0);
    }
    change(pages, COUNT * LARGE, NONE);
    change(pages, COUNT * LARGE, READ);
    write(pages, (COUNT - 1) * LARGE + LARGE - SMALL, 1);
}

fn make_code() {
    let page = memory(SMALL, SMALL);
    assert_eq!(refusal(page, SMALL, READ_EXECUTE), Some(Denied));
}

fn write_and_execute() {
    let page = memory(SMALL, SMALL);
    assert_eq!(refusal(page, SMALL, Rights::all()), Some(Denied));
    write(page, 0, 1);
}

/// Tries two pages at each of the addresses that the further arguments give in hexadecimal.
fn other_places() {
    for address in env::args().skip(2) {
        let address = usize::from_str_radix(&address, 16).unwrap();
        for rights in [NONE, READ, READ_WRITE] {
            let start = core::ptr::with_exposed_provenance_mut(address);
            assert_eq!(refusal(start, 2 * SMALL, rights), Some(BadAddress));
        }
    }
}

fn bad_ranges() {
    let page = memory(SMALL, SMALL);
    assert_eq!(refusal(page.wrapping_add(1), SMALL, READ), Some(BadArgument));
    assert_eq!(refusal(page, SMALL + 1, READ), Some(BadArgument));
    assert_eq!(refusal(page, SMALL, Rights::WRITE), Some(BadArgument));
    assert_eq!(refusal(page, SMALL, Rights::from_bits_retain(8 | 1)), Some(BadArgument));
    assert_eq!(refusal(page, usize::MAX - SMALL + 1, READ), Some(BadArgument));
    assert_eq!(refusal(page, 0, READ), None);
    write(page, 0, 1);
}

/// Why one call is refused, if it is.
fn refusal(start: *mut u8, length: usize, rights: Rights) -> Option<CallError> {
    answer(start, length, rights).err()
}

/// What one call answers.
fn answer(start: *mut u8, length: usize, rights: Rights) -> Result<usize, CallError> {
    let (start, length) = (start.expose_provenance() as u64, length as u64);
    // SAFETY: nothing but this program's tests uses the range.
    let result = unsafe { call::raw(Call::MemoryRights as u64, start, length, rights.bits(), 0) };
    CallError::check(result).map(|answer| answer as usize)
}
