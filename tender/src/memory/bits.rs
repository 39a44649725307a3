//! One bit for each page, by words, the lowest bit of the first for the first page.

use coracle_hypercall::memory::PAGE;

/// How many words have a bit for each page of so many bytes.
pub(crate) fn words(size: u64) -> usize {
    (size / PAGE).div_ceil(64) as usize
}

/// Whether a page has its bit. Those beyond the words have none.
pub(crate) fn has(bits: &[u64], page: u64) -> bool {
    bits.get((page / 64) as usize).is_some_and(|word| word & 1 << (page % 64) != 0)
}

/// Sets the bit of a page.
pub(crate) fn set(bits: &mut [u64], page: u64) {
    if let Some(word) = bits.get_mut((page / 64) as usize) {
        *word |= 1 << (page % 64);
    }
}

/// Clears the bit of a page.
pub(crate) fn clear(bits: &mut [u64], page: u64) {
    if let Some(word) = bits.get_mut((page / 64) as usize) {
        *word &= !(1 << (page % 64));
    }
}
