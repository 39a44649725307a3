//! Random bytes.
//!
//! The `getrandom` crate, and so `rand`, works without configuration.
//! [`instance::seed`] gives random bytes without leaving the machine.

use crate::{call, instance};
use coracle_hypercall::call::MAX_BYTES;
use core::hash::BuildHasher;

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

/// The state of hash maps whose order and collisions nobody can foresee: SipHash with keys from
/// [`instance::seed`]. For maps that take a `BuildHasher`, such as those of the crate `hashbrown`, whose
/// own default takes its seed from where memory lies, which is alike in all runs from one snapshot.
///
/// A map that was made before the program was ready keeps its keys: else it would find nothing again.
#[derive(Debug, Clone)]
pub struct RandomState([u64; 2]);

impl RandomState {
    /// One with keys of its own.
    #[must_use]
    pub fn new() -> RandomState {
        let seed = instance::seed();
        let (words, _) = seed.as_chunks::<8>();
        RandomState([u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])])
    }
}

impl Default for RandomState {
    fn default() -> RandomState {
        RandomState::new()
    }
}

// Deprecated for the hasher of `std`, which is not here.
#[allow(deprecated)]
impl BuildHasher for RandomState {
    type Hasher = core::hash::SipHasher;

    fn build_hasher(&self) -> core::hash::SipHasher {
        core::hash::SipHasher::new_with_keys(self.0[0], self.0[1])
    }
}
