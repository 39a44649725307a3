//! The thread that makes instances before they are needed, cleans those that take long, and gives back what
//! is not needed any more.

use super::shared::Shared;
use super::threads::spawn;
use crate::instance::Instance;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often it looks for instances that nobody uses.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many instances wait at most to be given back, beside those that [`max`](super::Builder::max) counts.
pub const MOST_UNWANTED: usize = 16;

/// What the keeper is to do.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    list: Mutex<List>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct List {
    /// Instances to make clean.
    dirty: Vec<Instance>,
    /// Instances to give back to the host.
    unwanted: Vec<Instance>,
    /// Whether there may be fewer instances than there should be.
    fill: bool,
    /// The pool is gone.
    ended: bool,
}

impl Tasks {
    /// Has an instance made clean; answers it where nobody is there any more to do so.
    pub(super) fn clean(&self, instance: Instance) -> Option<Instance> {
        let mut left = None;
        self.change(|list| if list.ended { left = Some(instance) } else { list.dirty.push(instance) });
        left
    }

    /// Has an instance given back to the host; answers it where too many wait for that already, so that
    /// there are never many more than a pool may have.
    pub(super) fn discard(&self, instance: Instance) -> Option<Instance> {
        let mut too_many = None;
        self.change(|list| {
            if list.unwanted.len() < MOST_UNWANTED {
                list.unwanted.push(instance);
            } else {
                too_many = Some(instance);
            }
        });
        too_many
    }

    pub(super) fn fill(&self) {
        self.change(|list| list.fill = true);
    }

    pub(super) fn end(&self) {
        self.change(|list| list.ended = true);
    }

    fn change(&self, change: impl FnOnce(&mut List)) {
        change(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// What there is to do; nothing after a while without. `None` at the end.
    fn take(&self) -> Option<List> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing =
            |list: &mut List| list.dirty.is_empty() && list.unwanted.is_empty() && !list.fill && !list.ended;
        let waited = self.changed.wait_timeout_while(list, LOOK_EVERY, nothing);
        let (mut list, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *list);
        list.ended = taken.ended;
        // Calls that are in flight may wait for those that are still to be made clean.
        (!taken.ended || !taken.dirty.is_empty()).then_some(taken)
    }
}

/// Starts the thread. It ends with the pool.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let confined = shared.confined.clone();
    let (tasks, shared) = (Arc::clone(&shared.tasks), Arc::downgrade(shared));
    spawn(&confined, "coracle-keeper", move || keep(&tasks, &shared))
}

fn keep(tasks: &Tasks, shared: &Weak<Shared>) {
    while let Some(list) = tasks.take() {
        let Some(shared) = shared.upgrade() else { return };
        for instance in list.dirty {
            shared.clean(instance);
        }
        drop(list.unwanted);
        if list.fill && !list.ended {
            shared.fill();
        }
        shared.shrink();
    }
}
