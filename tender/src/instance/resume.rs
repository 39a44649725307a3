//! Makes an instance of a snapshot.

use super::reset::Cleaner;
use super::{Instance, Origin};
use crate::calls::{AtReady, Clock, Edited, Events, Failures, Random, State};
use crate::machine::AnyMachine;
use crate::memory::{Advice, Memory};
use crate::paging::Pool;
use crate::snapshot::{ResumeError, Snapshot};
use coracle_hypercall::memory::PAGE;
use std::sync::Arc;

impl Instance {
    /// Makes a VM that goes on where the snapshot was taken. It can be [reset](Self::reset).
    ///
    /// # Errors
    /// See [`ResumeError`].
    pub fn resume(snapshot: &Arc<Snapshot>) -> Result<Instance, ResumeError> {
        let base = &snapshot.base;
        let memory = memory(snapshot)?;
        let host = &snapshot.host;
        let machine = AnyMachine::resume(host, memory, &snapshot.tables, &snapshot.saved)?;
        let mut events = Events::new();
        events.subscribed = snapshot.subscribed;
        let state = State {
            clock: Clock::since(snapshot.clock_start, host.features().invariant_tsc),
            events,
            pool: pool(snapshot),
            permissions: snapshot.permissions,
            failures: Failures::default(),
            at_ready: at_ready(snapshot),
            random: Random::default(),
            reply: Vec::new(),
            edited: Edited::below(snapshot.next_table),
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

/// Memory of its own with what the snapshot has.
fn memory(snapshot: &Snapshot) -> Result<Memory, ResumeError> {
    let base = &snapshot.base;
    if !snapshot.host.maps_privately() {
        let memory = snapshot.host.memory(base.size())?.reused();
        snapshot.fill(&memory).map_err(ResumeError::Map)?;
        memory.written().into_iter().for_each(|written| written.take().for_each(drop));
        return Ok(memory);
    }
    let reservation = base.map().map_err(ResumeError::Map)?;
    let memory = Memory::reusable(reservation, base.copying())?;
    // A page that is written before it was read is copied once and for all. One that the guest reads
    // first is taken away from it to be copied, which costs more the more VMs the process has.
    for run in snapshot.hot() {
        memory.advise(run.first * PAGE, run.count * PAGE, Advice::BackNow);
    }
    Ok(memory)
}

/// Pages for further tables. In all runs of all instances the stub fills them, so that none shows what
/// runs before it have split.
pub(super) fn pool(snapshot: &Snapshot) -> Pool {
    Pool { next: snapshot.next_table, end: snapshot.physical.page_tables().end(), used: true }
}

/// A program that was ready when its snapshot was taken cannot be so again.
pub(super) fn at_ready(snapshot: &Snapshot) -> AtReady {
    if snapshot.is_ready() { AtReady::Refuse } else { AtReady::GoOn }
}
