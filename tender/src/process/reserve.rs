//! Memory that the guest has not begun to use, and that is better given to it in huge pages. A file in memory has
//! those only where somebody asks for them piece by piece (`MADV_COLLAPSE`, Linux 6.1), unless the whole machine is
//! set up otherwise: so the guest is kept from this memory until it reaches for it.

use super::space::{self, Run};
use coracle_hypercall::memory::{LARGE_PAGE, Rights};
use std::ops::Range;

/// How much it is given at most where it goes on as it did: about two milliseconds' work.
const MOST: u64 = 16 << 20;

/// What it is kept from, in guest-physical addresses, and what it was given last.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    kept: Vec<Range<u64>>,
    last: Range<u64>,
}

impl Reserve {
    /// Keeps the whole large pages of a range.
    pub(super) fn of(range: &Range<u64>) -> Reserve {
        let start = range.start.next_multiple_of(LARGE_PAGE);
        let end = range.end - range.end % LARGE_PAGE;
        Reserve { kept: (start < end).then_some(start..end).into_iter().collect(), last: 0..0 }
    }

    /// Whether there is no more.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Gives up a piece for the guest, where this address is kept: a large page; more and more where it has come
    /// to the end of the last one.
    pub(super) fn open(&mut self, physical: u64) -> Option<Range<u64>> {
        let index = self.kept.iter().position(|kept| kept.contains(&physical))?;
        let kept = self.kept.get(index)?.clone();
        let start = physical - physical % LARGE_PAGE;
        let length = if start == self.last.end { (self.last.end - self.last.start) * 2 } else { LARGE_PAGE };
        let piece = start..kept.end.min(start + length.min(MOST));
        let rest = [kept.start..piece.start, piece.end..kept.end];
        self.kept.splice(index..=index, rest.into_iter().filter(|rest| !rest.is_empty()));
        self.last = piece.clone();
        Some(piece)
    }

    /// Gives up all.
    pub(super) fn open_all(&mut self) {
        self.kept.clear();
    }

    /// Takes all rights from the parts of runs that are kept.
    pub(super) fn keep(&self, runs: Vec<Run>) -> Vec<Run> {
        if self.is_empty() {
            return runs;
        }
        let mut cut = Vec::new();
        for run in runs {
            let (mut at, end) = (run.physical, run.physical + run.length);
            while at < end {
                let kept = self.kept.iter().find(|kept| kept.end > at && kept.start < end);
                let (stop, rights) = match kept {
                    Some(kept) if kept.start <= at => (kept.end.min(end), Rights::empty()),
                    Some(kept) => (kept.start, run.rights),
                    None => (end, run.rights),
                };
                let address = run.address + (at - run.physical);
                space::add(&mut cut, Run { address, physical: at, length: stop - at, rights });
                at = stop;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Reserve};
    use crate::process::space::Run;
    use coracle_hypercall::memory::{LARGE_PAGE, Rights};

    const RIGHTS: Rights = Rights::READ;

    fn run(physical: u64, length: u64, rights: Rights) -> Run {
        Run { address: physical + (1 << 39), physical, length, rights }
    }

    #[test]
    fn whoever_goes_on_is_given_more_and_more_and_nothing_twice() {
        let mut reserve = Reserve::of(&(LARGE_PAGE - 1..100 * LARGE_PAGE + 1));
        assert_eq!(reserve.open(LARGE_PAGE - 1), None);
        assert_eq!(reserve.open(LARGE_PAGE + 5), Some(LARGE_PAGE..2 * LARGE_PAGE));
        assert_eq!(reserve.open(LARGE_PAGE), None);
        assert_eq!(reserve.open(2 * LARGE_PAGE), Some(2 * LARGE_PAGE..4 * LARGE_PAGE));
        // Elsewhere it is little again, and what was given before is the end.
        assert_eq!(reserve.open(8 * LARGE_PAGE), Some(8 * LARGE_PAGE..9 * LARGE_PAGE));
        assert_eq!(reserve.open(7 * LARGE_PAGE), Some(7 * LARGE_PAGE..8 * LARGE_PAGE));
        let mut at = 9 * LARGE_PAGE;
        while let Some(piece) = reserve.open(at) {
            assert!(piece.start == at && piece.end - piece.start <= MOST);
            at = piece.end;
        }
        assert_eq!(at, 100 * LARGE_PAGE);
        assert!(!reserve.is_empty(), "what was left out in between is still kept");
    }

    #[test]
    fn what_is_kept_has_no_rights() {
        let reserve = Reserve::of(&(2 * LARGE_PAGE..4 * LARGE_PAGE));
        let whole = run(0, 6 * LARGE_PAGE, RIGHTS);
        let parts = [
            run(0, 2 * LARGE_PAGE, RIGHTS),
            run(2 * LARGE_PAGE, 2 * LARGE_PAGE, Rights::empty()),
            run(4 * LARGE_PAGE, 2 * LARGE_PAGE, RIGHTS),
        ];
        assert_eq!(reserve.keep(vec![whole]), parts);
        assert_eq!(Reserve::default().keep(vec![whole]), [whole]);
        let before = run(LARGE_PAGE, LARGE_PAGE, RIGHTS);
        assert_eq!(reserve.keep(vec![before]), [before]);
    }
}
