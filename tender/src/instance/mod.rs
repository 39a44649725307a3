//! One VM made from an image or from a snapshot, from boot to end.
//!
//! | file | what it does |
//! |---|---|
//! | `boot` | fills memory and makes the machine |
//! | `arguments` | the argument block on the guest's stack |
//! | `resume` | makes one of a snapshot |
//! | `run` | the run loop |
//! | `call` | one run of a program for a caller |
//! | `reset` | makes it what its snapshot is |
//! | `crash` | the report of a guest that ended badly |
//! | `statistics` | what is counted on the way |

mod arguments;
mod boot;
mod call;
mod crash;
mod reset;
mod resume;
mod run;
mod statistics;
#[cfg(test)]
mod tests;

pub use boot::{BootError, Config};
pub use reset::{Reset, Unclean};
pub use run::{End, Stopper};
pub use statistics::{ExitStatistics, Statistics};

use crate::calls::State;
use crate::guest::Guest;
use crate::image::Image;
use crate::layout::{Physical, Places};
use crate::machine::{AnyMachine, Machine, Tables};
use crate::snapshot::Snapshot;
use coracle_hypercall::event::EventSources;
use reset::Cleaner;
use std::path::Path;
use std::sync::Arc;

/// What an instance was made from.
#[derive(Debug)]
enum Origin {
    Image(Arc<Image>),
    Snapshot(Arc<Snapshot>),
}

/// One VM, made from an image or a snapshot. It is run by one thread at a time.
#[derive(Debug)]
pub struct Instance {
    origin: Origin,
    machine: AnyMachine,
    physical: Physical,
    places: Places,
    tables: Tables,
    state: State,
    statistics: Option<Statistics>,
    /// How it ended, once it has.
    end: Option<End>,
    /// Whether it was paused in a call that is still to be carried out.
    waits_in_call: bool,
    cleaner: Cleaner,
}

impl Instance {
    /// The path of the image it was made from, for messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        match &self.origin {
            Origin::Image(image) => image.path(),
            Origin::Snapshot(snapshot) => snapshot.name(),
        }
    }

    /// The image it was made from; `None` when its snapshot has none.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        match &self.origin {
            Origin::Image(image) => Some(image),
            Origin::Snapshot(snapshot) => snapshot.image().map(|image| &**image),
        }
    }

    /// Whether it was made from a snapshot whose file has been cut short since.
    #[must_use]
    pub fn lost_its_snapshot(&self) -> bool {
        matches!(&self.origin, Origin::Snapshot(snapshot) if snapshot.was_cut())
    }

    pub(crate) fn machine(&self) -> &AnyMachine {
        &self.machine
    }

    pub(crate) fn physical(&self) -> &Physical {
        &self.physical
    }

    /// The guest-physical page that is next to become a page table.
    pub(crate) fn next_table(&self) -> u64 {
        self.state.pool.next
    }

    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.state.clock.monotonic_ns()
    }

    pub(crate) fn subscribed(&self) -> EventSources {
        self.state.events.subscribed
    }

    /// Where things lie in its address space.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Ends what runs it, so that nothing of that outlives the tender: for one that exits without dropping this.
    pub fn end_machine(&mut self) {
        self.machine.end();
    }

    /// Its memory, through its own page tables.
    #[must_use]
    pub fn guest(&self) -> Guest<'_> {
        Guest::new(self.machine.memory(), self.tables.root)
    }

    /// The guest-physical address of its PML4.
    #[must_use]
    pub fn page_table_root(&self) -> u64 {
        self.tables.root
    }

    /// Counts and times exits from now on, as [`Config::statistics`] does from the start.
    pub fn count(&mut self) {
        self.statistics.get_or_insert_default();
    }

    /// What was counted so far, if [`Config::statistics`] or [`count`](Self::count) asked for it.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        let mut statistics = self.statistics.clone()?;
        statistics.find_medians();
        statistics.host = self.machine.counters().ok();
        Some(statistics)
    }
}
