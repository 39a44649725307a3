//! Arguments and environment.
//!
//! Both are bytes that need not be UTF-8. The plain functions replace what is not by `U+FFFD`; those
//! with `bytes` in their name give all as it is. Nothing is copied where nothing must be replaced.

use crate::start::ArgumentBlock;
use alloc::borrow::Cow;
use alloc::string::String;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static ENVIRONMENT: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());

/// Keeps the place of the arguments and of the environment.
pub(crate) fn set(block: &ArgumentBlock) {
    ARGUMENTS.store(block.arguments.cast_mut(), Ordering::Relaxed);
    COUNT.store(block.count, Ordering::Relaxed);
    ENVIRONMENT.store(block.environment.cast_mut(), Ordering::Relaxed);
}

/// The strings of a list that the argument block holds.
#[derive(Debug, Clone)]
struct Strings {
    next: *const *const c_char,
}

// SAFETY: the argument block is never written.
unsafe impl Send for Strings {}
// SAFETY: as above.
unsafe impl Sync for Strings {}

impl Iterator for Strings {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<&'static [u8]> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the list ends with null, behind which this never goes, and its C strings stay.
        unsafe {
            let string = *self.next;
            if string.is_null() {
                return None;
            }
            self.next = self.next.add(1);
            Some(CStr::from_ptr(string).to_bytes())
        }
    }
}

/// The arguments, the program's name first.
pub fn args() -> impl ExactSizeIterator<Item = Cow<'static, str>> {
    args_bytes().map(String::from_utf8_lossy)
}

/// The arguments as bytes, the program's name first.
pub fn args_bytes() -> impl ExactSizeIterator<Item = &'static [u8]> {
    let strings = Strings { next: ARGUMENTS.load(Ordering::Relaxed) };
    Arguments { strings, left: COUNT.load(Ordering::Relaxed) }
}

struct Arguments {
    strings: Strings,
    left: usize,
}

impl Iterator for Arguments {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<&'static [u8]> {
        let next = self.strings.next()?;
        self.left -= 1;
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Arguments {}

/// The value of an environment variable.
#[must_use]
pub fn var(name: &str) -> Option<Cow<'static, str>> {
    var_bytes(name.as_bytes()).map(String::from_utf8_lossy)
}

/// The value of an environment variable as bytes.
#[must_use]
pub fn var_bytes(name: &[u8]) -> Option<&'static [u8]> {
    vars_bytes().find(|&(key, _)| key == name).map(|(_, value)| value)
}

/// All environment variables: names and values.
pub fn vars() -> impl Iterator<Item = (Cow<'static, str>, Cow<'static, str>)> {
    vars_bytes().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
}

/// All environment variables as bytes: names and values. An entry without `=` is passed over.
pub fn vars_bytes() -> impl Iterator<Item = (&'static [u8], &'static [u8])> {
    Strings { next: ENVIRONMENT.load(Ordering::Relaxed) }.filter_map(|entry| {
        let equals = entry.iter().position(|&byte| byte == b'=')?;
        Some((&entry[..equals], &entry[equals + 1..]))
    })
}
