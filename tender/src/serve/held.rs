//! How much of requests and responses the server holds: what came in and is not answered yet, and answers that
//! nobody has taken yet.

use hyper::body::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Beyond so many bytes, further requests are refused until there are fewer.
const MOST: u64 = 1 << 30;

/// What is held in all.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicU64);

impl Held {
    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.bytes() < MOST
    }

    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A share of it, of nothing yet.
    pub(super) fn share(self: &Arc<Held>) -> Share {
        Share { held: Arc::clone(self), bytes: 0 }
    }

    /// Bytes that are held for as long as anything refers to them.
    pub(super) fn keep(self: &Arc<Held>, bytes: Vec<u8>) -> Bytes {
        let mut share = self.share();
        share.add(bytes.len());
        Bytes::from_owner(Kept { bytes, _share: share })
    }
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Arc<Held>,
    bytes: u64,
}

impl Share {
    /// More of them.
    pub(super) fn add(&mut self, count: usize) {
        self.bytes += count as u64;
        self.held.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Whether there is room for more, of whoever's.
    pub(super) fn has_room(&self) -> bool {
        self.held.has_room()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Kept {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, MOST};
    use std::sync::Arc;

    #[test]
    fn what_is_held_is_counted_until_nothing_refers_to_it() {
        let held = Arc::new(Held::default());
        let bytes = held.keep(vec![1; 1000]);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!((held.bytes(), &part[..]), (1000, &[1; 10][..]));
        drop(part);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn there_is_room_up_to_the_limit() {
        let held = Arc::new(Held::default());
        let mut share = held.share();
        share.add(MOST as usize - 1);
        assert!(held.has_room());
        share.add(1);
        assert!(!held.has_room());
        drop(share);
        assert!(held.has_room());
    }
}
