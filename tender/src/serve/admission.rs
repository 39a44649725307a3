//! Who has to wait, and who is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Places for the calls of one function: those that are made and those that wait.
#[derive(Debug)]
pub(super) struct Places {
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { taken: AtomicUsize::new(0), most })
    }

    /// A place, if there is one left.
    pub(super) fn take(self: &Arc<Places>) -> Option<Place> {
        // Given back at once where it is one too many.
        let place = Place(Some(Arc::clone(self)));
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }

    /// Whether there is none left just now.
    pub(super) fn is_full(&self) -> bool {
        self.taken() >= self.most
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Places>>);

impl Place {
    /// Gives it back.
    pub(super) fn leave(&mut self) {
        if let Some(places) = self.0.take() {
            places.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How many requests of each client's address are worked on.
#[derive(Debug)]
pub(super) struct Clients {
    requests: Mutex<HashMap<IpAddr, u32>>,
    most: u32,
}

impl Clients {
    pub(super) fn new(most: u32) -> Arc<Clients> {
        Arc::new(Clients { requests: Mutex::default(), most })
    }

    /// Counts one more; nothing when it is one too many.
    pub(super) fn count(self: &Arc<Clients>, client: IpAddr) -> Option<Counted> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted(Arc::clone(self), client))
    }
}

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Clients>, IpAddr);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut requests = self.0.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = requests.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                requests.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clients, Places};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn places_are_as_many_as_there_are() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
        assert_eq!(places.taken(), 1);
    }

    #[test]
    fn each_client_counts_for_itself_and_none_is_remembered_without_a_request() {
        let clients = Clients::new(1);
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        let first = clients.count(one);
        assert!(first.is_some() && clients.count(one).is_none() && clients.count(two).is_some());
        drop(first);
        assert!(clients.requests.lock().expect("no panic").is_empty());
    }
}
