//! Which pages the tender itself has written.

use super::bits::words;
use coracle_hypercall::memory::PAGE;
use std::cell::Cell;

/// One bit for each page: the machine tells what the guest writes, and this what the tender does.
#[derive(Debug)]
pub(crate) struct Written {
    bits: Box<[Cell<u64>]>,
}

impl Written {
    /// No page of `size` bytes.
    pub(super) fn none(size: u64) -> Written {
        Written { bits: vec![Cell::new(0); words(size)].into() }
    }

    /// Adds the pages of a range.
    pub(super) fn add(&self, address: u64, length: u64) {
        if length == 0 {
            return;
        }
        for page in address / PAGE..=address.saturating_add(length - 1) / PAGE {
            if let Some(word) = self.bits.get((page / 64) as usize) {
                word.set(word.get() | 1 << (page % 64));
            }
        }
    }

    /// The bits by words, the lowest bit of the first for the first page. Each is taken out.
    pub(crate) fn take(&self) -> impl Iterator<Item = u64> {
        self.bits.iter().map(Cell::take)
    }
}

#[cfg(test)]
mod tests {
    use super::Written;
    use coracle_hypercall::memory::PAGE;

    #[test]
    fn each_page_that_a_range_touches_is_kept_until_it_is_taken() {
        let written = Written::none(128 * PAGE);
        written.add(PAGE - 1, 2);
        written.add(64 * PAGE, PAGE);
        written.add(5 * PAGE, 0);
        assert_eq!(written.take().collect::<Vec<_>>(), [0b11, 1]);
        assert_eq!(written.take().collect::<Vec<_>>(), [0, 0]);
    }
}
