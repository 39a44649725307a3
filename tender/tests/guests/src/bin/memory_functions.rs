//! Compares `memcpy` and its kin with loops that go byte by byte, at all small sizes and at those
//! around which the ways to do it change.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use core::ffi::{c_char, c_int};
use core::hint::black_box;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: c_int, length: usize) -> *mut u8;
    fn memcmp(left: *const u8, right: *const u8, length: usize) -> c_int;
    fn bcmp(left: *const u8, right: *const u8, length: usize) -> c_int;
    fn strlen(string: *const c_char) -> usize;
}

/// More than any place that is used, with room around it that must stay as it is.
const ROOM: usize = 16 << 10;
const MARGIN: usize = 64;

/// All up to 600, and some around powers of two.
fn sizes() -> impl Iterator<Item = usize> {
    let around = |size: usize| size - 2..size + 3;
    (0..=600).chain([1024, 2048, 4096].into_iter().flat_map(around))
}

/// A byte that depends on its place.
fn mark(place: usize) -> u8 {
    (place as u8).wrapping_mul(31) ^ (place >> 8) as u8
}

fn fill(bytes: &mut [u8]) {
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = black_box(mark(place));
    }
}

/// Checks that `bytes` has `inside(place)` from `start` on for `length` bytes and is as it was around it.
fn check(bytes: &[u8], start: usize, length: usize, inside: impl Fn(usize) -> u8) {
    let around = start - MARGIN..start + length + MARGIN;
    for (place, found) in around.clone().zip(&bytes[around]) {
        let expected = if (start..start + length).contains(&place) { inside(place) } else { mark(place) };
        assert!(black_box(*found) == expected, "byte {place} of {length} from {start}");
    }
}

/// Puts the marks of a part back.
fn mend(bytes: &mut [u8], start: usize, length: usize) {
    for (place, byte) in (start..).zip(&mut bytes[start..start + length]) {
        *byte = black_box(mark(place));
    }
}

fn copies(bytes: &mut [u8], source: &[u8]) {
    for size in sizes() {
        for to in MARGIN..MARGIN + 16 {
            for from in [0, 1, 8, 15] {
                // SAFETY: both lie within their vectors, which are apart.
                let result = unsafe { memcpy(bytes.as_mut_ptr().add(to), source.as_ptr().add(from), size) };
                assert!(result == bytes[to..].as_mut_ptr());
                check(bytes, to, size, |place| source[place - to + from]);
                mend(bytes, to, size);
            }
        }
    }
}

fn moves(bytes: &mut [u8]) {
    const MIDDLE: usize = 5 << 10;
    for size in sizes() {
        for distance in [0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 500, 2047, 4097_usize]
        {
            for start in [MIDDLE, MIDDLE + 3] {
                for to in [start - distance, start + distance] {
                    let base = bytes.as_mut_ptr();
                    // SAFETY: both lie within the vector.
                    let result = unsafe { memmove(base.add(to), base.add(start), size) };
                    assert!(result == bytes[to..].as_mut_ptr());
                    check(bytes, to, size, |place| mark(place - to + start));
                    mend(bytes, to, size);
                }
            }
        }
    }
}

fn sets(bytes: &mut [u8]) {
    for size in sizes() {
        for to in MARGIN..MARGIN + 16 {
            // Of the value, the low byte counts.
            for byte in [0, 0xa5, -1, 0x1234] {
                // SAFETY: the place lies within the vector.
                let result = unsafe { memset(bytes.as_mut_ptr().add(to), byte, size) };
                assert!(result == bytes[to..].as_mut_ptr());
                check(bytes, to, size, |_| byte as u8);
                mend(bytes, to, size);
            }
        }
    }
}

fn comparisons(left: &mut [u8], right: &mut [u8]) {
    for size in sizes() {
        for (a, b) in [(0, 0), (1, 0), (0, 15), (7, 9)] {
            let (left, right) = (&mut left[a..], &mut right[b..]);
            for place in 0..size {
                let byte = black_box(mark(place));
                (left[place], right[place]) = (byte, byte);
            }
            // What lies behind differs and does not count.
            (left[size], right[size]) = (0, 1);
            let compare = |left: &[u8], right: &[u8]| {
                // SAFETY: both have so many bytes.
                let (order, differ) = unsafe {
                    (memcmp(left.as_ptr(), right.as_ptr(), size), bcmp(left.as_ptr(), right.as_ptr(), size))
                };
                assert!((order == 0) == (differ == 0));
                order.signum()
            };
            assert!(compare(left, right) == 0, "{size} equal bytes");
            let step = 1 + size / 40;
            for place in (0..size).step_by(step).chain(size.checked_sub(1)) {
                let byte = right[place];
                // Bytes are unsigned, and the first that differs decides.
                for (low, high) in [(0, 0x80), (0x7f, 0x80), (0xfe, 0xff)] {
                    (left[place], right[place]) = (low, high);
                    if place + 1 < size {
                        (left[place + 1], right[place + 1]) = (0xff, 0);
                    }
                    assert!(compare(left, right) == -1 && compare(right, left) == 1, "{place} of {size}");
                }
                (left[place], right[place]) = (byte, byte);
                if place + 1 < size {
                    let byte = mark(place + 1);
                    (left[place + 1], right[place + 1]) = (byte, byte);
                }
            }
        }
    }
}

fn lengths(bytes: &mut [u8]) {
    for start in 0..32 {
        for length in 0..200 {
            bytes.fill(0);
            bytes[start..start + length].fill(0xff);
            // SAFETY: there is a zero behind it.
            let counted = unsafe { strlen(bytes.as_ptr().add(start).cast()) };
            assert!(counted == length, "{length} from {start}");
        }
    }
}

#[coracle::main]
fn main() {
    let (mut one, mut two) = (vec![0; ROOM], vec![0; ROOM]);
    fill(&mut one);
    // Other bytes than those of the target.
    for (place, byte) in two.iter_mut().enumerate() {
        *byte = black_box(mark(place) ^ 0x5a);
    }
    copies(&mut one, &two);
    moves(&mut one);
    sets(&mut one);
    comparisons(&mut one, &mut two);
    lengths(&mut one[..256]);
    coracle::println!("all as it should be");
}
