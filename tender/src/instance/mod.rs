//! One VM made from an image, from boot to end.
//!
//! | file | what it does |
//! |---|---|
//! | `boot` | fills memory and makes the machine |
//! | `arguments` | the argument block on the guest's stack |
//! | `run` | the run loop |
//! | `crash` | the report of a guest that ended badly |
//! | `statistics` | what is counted on the way |

mod arguments;
mod boot;
mod crash;
mod run;
mod statistics;

pub use boot::{BootError, Config};
pub use run::{End, Stopper};
pub use statistics::{ExitStatistics, Statistics};

use crate::calls::State;
use crate::guest::Guest;
use crate::image::Image;
use crate::kvm::{Machine, Tables};
use crate::layout::{Physical, Places};
use std::sync::Arc;

/// One VM, made from an image. It is run by one thread at a time.
#[derive(Debug)]
pub struct Instance {
    image: Arc<Image>,
    machine: Machine,
    physical: Physical,
    places: Places,
    tables: Tables,
    state: State,
    statistics: Option<Statistics>,
    /// How it ended, once it has.
    end: Option<End>,
}

impl Instance {
    /// The image it was made from.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Where things lie in its address space.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
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

    /// What was counted so far, if [`Config::statistics`] asked for it.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        let mut statistics = self.statistics.clone()?;
        statistics.find_medians();
        statistics.kvm = self.machine.statistics().ok();
        Some(statistics)
    }
}
