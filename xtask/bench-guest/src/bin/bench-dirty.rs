//! Writes to as many pages as its input says (4 bytes, little-endian) and answers with 64 bytes. Before it is ready
//! it fills as many MiB as its argument says.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use coracle::env;

const PAGE: usize = 4096;
const MOST: usize = 2048;

static mut PAGES: [u8; MOST * PAGE] = [0; MOST * PAGE];
static ANSWER: [u8; 64] = [b'x'; 64];

fn fill() {
    let size = env::args().nth(1).and_then(|size| size.parse::<usize>().ok()).unwrap_or_default();
    vec![1_u8; size << 20].leak();
}

#[coracle::handler(init = fill)]
fn dirty(input: &[u8]) -> &'static [u8] {
    let count = input.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let pages = (&raw mut PAGES).cast::<u8>();
    for page in 0..(count as usize).min(MOST) {
        // SAFETY: the byte lies in the static, which nobody else uses: there is one thread.
        unsafe { pages.add(page * PAGE).write_volatile(1) };
    }
    &ANSWER
}
