//! Makes an instance of a snapshot.

use super::reset::Cleaner;
use super::{Instance, Origin};
use crate::calls::{AtReady, Clock, Edited, Events, Failures, Random, State};
use crate::kvm::Machine;
use crate::memory::Memory;
use crate::paging::Pool;
use crate::snapshot::{ResumeError, Snapshot};
use std::sync::Arc;

impl Instance {
    /// Makes a VM that goes on where the snapshot was taken. It can be [reset](Self::reset).
    ///
    /// # Errors
    /// See [`ResumeError`].
    pub fn resume(snapshot: &Arc<Snapshot>) -> Result<Instance, ResumeError> {
        let base = &snapshot.base;
        let reservation = base.map().map_err(ResumeError::Map)?;
        let memory = Memory::reusable(reservation, base.copying())?;
        let host = &snapshot.host;
        let machine =
            Machine::resume(host, memory, &snapshot.tables, &snapshot.saved, snapshot.places.entry())?;
        let mut events = Events::new();
        events.subscribed = snapshot.subscribed;
        let state = State {
            clock: Clock::since(snapshot.clock_start, host.tsc_khz(&machine)),
            events,
            pool: Pool { next: snapshot.next_table, end: snapshot.physical.page_tables().end() },
            permissions: snapshot.permissions,
            failures: Failures::default(),
            at_ready: at_ready(snapshot),
            random: Random::default(),
            reply: Vec::new(),
            edited: Edited::default(),
        };
        Ok(Instance {
            origin: Origin::Snapshot(Arc::clone(snapshot)),
            machine,
            physical: snapshot.physical,
            places: snapshot.places,
            tables: snapshot.tables,
            state,
            statistics: None,
            end: None,
            waits_in_call: false,
            cleaner: Cleaner::for_memory(base.size()),
        })
    }
}

/// A program that was ready when its snapshot was taken cannot be so again.
pub(super) fn at_ready(snapshot: &Snapshot) -> AtReady {
    if snapshot.is_ready() { AtReady::Refuse } else { AtReady::GoOn }
}
