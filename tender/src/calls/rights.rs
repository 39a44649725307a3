//! New rights for pages of the stack or the heap.

use super::{Context, Reply, State};
use crate::cpu::stub;
use crate::layout::Extent;
use crate::paging::{Edit, Editor};
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{PAGE, Rights};
use coracle_hypercall::note::Permissions;
use std::collections::BTreeSet;

/// Guest-physical addresses of page-table entries that were changed. It keeps no more than can be
/// changed back at once.
#[derive(Debug, Default)]
pub struct Edited {
    entries: BTreeSet<u64>,
    overflow: bool,
    /// Where tables begin whose entries are not kept.
    end: u64,
}

impl Edited {
    /// None yet. Tables from `end` on are no longer in use once the entries of the others are changed
    /// back.
    pub(crate) fn below(end: u64) -> Edited {
        Edited { end, ..Edited::default() }
    }

    fn add(&mut self, edits: &[Edit]) {
        for edit in edits {
            let entries = (0..edit.values.len() as u64).map(|index| edit.entry + 8 * index);
            self.entries.extend(entries.filter(|entry| *entry < self.end));
        }
        if self.entries.len() > stub::MAX_EDIT_VALUES {
            (self.entries, self.overflow) = (BTreeSet::new(), true);
        }
    }

    /// Takes the addresses, in ascending order; `None` when they were too many.
    pub(crate) fn take(&mut self) -> Option<BTreeSet<u64>> {
        (!self.overflow).then(|| std::mem::take(&mut self.entries))
    }
}

impl State {
    pub(super) fn memory_rights(
        &mut self,
        address: u64,
        length: u64,
        rights: u64,
        context: &mut Context<'_>,
    ) -> Reply {
        match self.plan_rights(address, length, rights, context) {
            Ok((_, 0)) => Reply::Result(Ok(0)),
            Ok((edits, changed)) => Reply::Edit(edits, changed),
            Err(error) => Reply::Result(Err(error)),
        }
    }

    fn plan_rights(
        &mut self,
        address: u64,
        length: u64,
        rights: u64,
        context: &mut Context<'_>,
    ) -> Result<(Vec<Edit>, u64), CallError> {
        let rights = Rights::from_bits(rights).ok_or(CallError::BadArgument)?;
        let end = address.checked_add(length).ok_or(CallError::BadArgument)?;
        if !(address | length).is_multiple_of(PAGE) || (!rights.is_empty() && !rights.contains(Rights::READ))
        {
            return Err(CallError::BadArgument);
        }
        if rights.contains(Rights::WRITE | Rights::EXECUTE) {
            return Err(CallError::Denied);
        }
        let places = context.places;
        if rights.contains(Rights::EXECUTE) && !self.permissions.contains(Permissions::CODE_AT_RUN_TIME) {
            return Err(CallError::Denied);
        }
        if length == 0 {
            return Ok((Vec::new(), 0));
        }
        let within = |place: &Extent| place.contains(address) && end <= place.end();
        let (place, memory_of_place) = if within(&places.stack) {
            (places.stack, context.physical.stack)
        } else if within(&places.heap) {
            (places.heap, context.physical.heap)
        } else {
            return Err(CallError::BadAddress);
        };
        let physical = memory_of_place.start + (address - place.start);
        let memory = context.guest.memory();
        let mut editor = Editor { memory, root: context.root, pool: &mut self.pool };
        let (edits, changed) = editor
            .plan(address, physical, length, rights, stub::MAX_EDIT_VALUES)
            .map_err(|_| CallError::BadAddress)?;
        if memory.written().is_some() {
            self.edited.add(&edits);
        }
        Ok((edits, changed))
    }
}
