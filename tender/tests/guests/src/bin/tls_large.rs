//! Uses thread-local variables of 8192 bytes at multiples of 4096.
#![no_std]
#![no_main]

extern crate alloc;

guests::thread_locals!(4096, 8192, 0x1122_3344_5566_7788_u64);

#[coracle::main]
fn main() {
    guests::tls::check(thread_locals(), 4096, 8192, 0x1122_3344_5566_7788);
    // What the program allocates lies elsewhere.
    let mut bytes = alloc::vec![3_u8; 100_000];
    bytes.fill(4);
    // SAFETY: both belong to this thread, and have more than one byte.
    assert_eq!(thread_locals().map(|place| unsafe { place.read() }), [1, 2]);
    coracle::println!("all as it should be");
}
