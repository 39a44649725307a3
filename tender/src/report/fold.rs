//! A long trace made short.
//!
//! A stack that has overflowed holds the same few frames a hundred thousand times: they are shown
//! once, with a count. What is still long loses its middle; who called it all is at its end.

use super::unwind::Frame;

/// How many frames at most may be one round of a recursion.
const MAX_ROUND: usize = 8;

/// How many more rounds of the same make a repetition.
const MIN_REPEATS: usize = 3;

/// How many lines are shown from the start and from the end of a trace.
const HEAD: usize = 48;
const TAIL: usize = 16;

/// An entry of a folded trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// A frame and its number.
    Frame(usize, Frame),
    /// So many frames before this come so many times more.
    Repeated { frames: usize, times: usize },
    /// So many frames are left out.
    LeftOut(usize),
}

impl Item {
    fn frames(self) -> usize {
        match self {
            Item::Frame(..) => 1,
            Item::Repeated { frames, times } => frames.saturating_mul(times),
            Item::LeftOut(frames) => frames,
        }
    }
}

/// Folds a trace.
pub(super) fn fold(frames: &[Frame]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = frames;
    let mut number = 0_usize;
    while !rest.is_empty() {
        let (round, times) = repetition(rest).unwrap_or((1, 0));
        let (shown, _) = rest.split_at(round);
        items.extend(shown.iter().enumerate().map(|(index, frame)| Item::Frame(number + index, *frame)));
        if times > 0 {
            items.push(Item::Repeated { frames: round, times });
        }
        let consumed = round * (times + 1);
        number += consumed;
        rest = rest.get(consumed..).unwrap_or_default();
    }
    cut(items)
}

/// The length of a round at the start of `frames` and how often it comes again at once.
fn repetition(frames: &[Frame]) -> Option<(usize, usize)> {
    (1..=MAX_ROUND.min(frames.len())).find_map(|round| {
        let (first, rest) = frames.split_at(round);
        let times = rest.chunks_exact(round).take_while(|next| *next == first).count();
        (times >= MIN_REPEATS).then_some((round, times))
    })
}

fn cut(mut items: Vec<Item>) -> Vec<Item> {
    if items.len() > HEAD + TAIL {
        let tail = items.split_off(items.len() - TAIL);
        let left_out = items.drain(HEAD..).map(Item::frames).sum();
        items.push(Item::LeftOut(left_out));
        items.extend(tail);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Item, TAIL, fold};
    use crate::report::tests::cases;
    use crate::report::unwind::Frame;
    use proptest::prelude::*;

    fn frames(addresses: impl IntoIterator<Item = u64>) -> Vec<Frame> {
        addresses.into_iter().map(|address| Frame { address, lookup: address }).collect()
    }

    fn shown(items: &[Item]) -> Vec<u64> {
        items
            .iter()
            .filter_map(|item| if let Item::Frame(_, frame) = item { Some(frame.address) } else { None })
            .collect()
    }

    #[test]
    fn a_short_trace_stays_as_it_is() {
        assert_eq!(shown(&fold(&frames([1, 2, 2, 3, 2, 2]))), [1, 2, 2, 3, 2, 2]);
    }

    #[test]
    fn a_recursion_is_shown_once_with_a_count() {
        let items = fold(&frames([1].into_iter().chain([7; 1000]).chain([2, 3])));
        assert_eq!(shown(&items), [1, 7, 2, 3]);
        assert_eq!(items[2], Item::Repeated { frames: 1, times: 999 });
        assert!(matches!(items[3], Item::Frame(1001, _)), "numbers go on behind it");
    }

    #[test]
    fn a_recursion_through_several_functions_is_shown_once() {
        let items = fold(&frames((0..3000).map(|n| n % 3).chain([9])));
        assert_eq!(shown(&items), [0, 1, 2, 9]);
        assert!(items.contains(&Item::Repeated { frames: 3, times: 999 }));
    }

    #[test]
    fn a_long_trace_keeps_both_ends() {
        let items = fold(&frames(0..1000));
        assert_eq!(items.len(), HEAD + 1 + TAIL);
        assert_eq!(items[HEAD], Item::LeftOut(1000 - HEAD - TAIL));
        assert!(matches!(items.last(), Some(Item::Frame(999, _))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases()))]
        #[test]
        fn no_frame_is_lost_in_the_count(addresses in proptest::collection::vec(0_u64..3, 0..500)) {
            let total: usize = fold(&frames(addresses.iter().copied())).iter().map(|item| item.frames()).sum();
            prop_assert_eq!(total, addresses.len());
        }
    }
}
