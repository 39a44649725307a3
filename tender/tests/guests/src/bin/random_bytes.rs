//! Gets random bytes in each way that there is, and prints some.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use coracle::{println, random};
use core::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    fn getrandom(buffer: *mut c_void, length: usize, flags: u32) -> isize;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn __errno_location() -> *mut c_int;
}

/// Checks that no run of eight bytes is all zero and that no two are the same: of random bytes that
/// is as good as certain.
fn look_random(bytes: &[u8]) {
    let mut words: vec::Vec<&[u8]> = bytes.chunks_exact(8).collect();
    words.sort_unstable();
    assert!(words.iter().all(|word| **word != [0; 8]));
    assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
}

#[coracle::main]
fn main() {
    random::fill(&mut []);
    for length in [8, 100, 4096, 3 << 20] {
        let mut bytes = vec![0; length];
        random::fill(&mut bytes);
        look_random(&bytes);
        // SAFETY: the buffer has so many bytes.
        let got = unsafe { getrandom(bytes.as_mut_ptr().cast(), length, 0) };
        assert_eq!(got, length as isize);
        look_random(&bytes);
    }
    // SAFETY: names are C strings; what is not there is null or refused.
    unsafe {
        assert_eq!(dlsym(core::ptr::null_mut(), c"getrandom".as_ptr()), getrandom as *mut c_void);
        assert!(dlsym(core::ptr::null_mut(), c"malloc".as_ptr()).is_null());
        assert_eq!(open(c"/dev/urandom".as_ptr(), 0), -1);
        assert_eq!(*__errno_location(), 38);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("random bytes");
    println!("{:032x}", u128::from_le_bytes(bytes));
}
