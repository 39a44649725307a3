//! Random bytes.
//!
//! The `getrandom` crate, and so `rand`, works without configuration.

use crate::call;
use coracle_hypercall::call::MAX_BYTES;

/// Fills the buffer with random bytes fit for keys.
///
/// # Panics
/// When the host has none to give, which no sound host does.
pub fn fill(buffer: &mut [u8]) {
    for part in buffer.chunks_mut(MAX_BYTES as usize) {
        if let Err(error) = call::entropy(part) {
            panic!("cannot get random bytes: {error}");
        }
    }
}
