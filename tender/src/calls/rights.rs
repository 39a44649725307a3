//! New rights for pages of the stack or the heap.

use super::{Context, Reply, State};
use crate::cpu::stub;
use crate::layout::Extent;
use crate::paging::Editor;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::{PAGE, Rights};
use coracle_hypercall::note::Permissions;

impl State {
    pub(super) fn memory_rights(
        &mut self,
        address: u64,
        length: u64,
        rights: u64,
        context: &mut Context<'_>,
    ) -> Reply {
        match self.plan_rights(address, length, rights, context) {
            Ok(0) => Reply::Result(Ok(0)),
            Ok(changed) => Reply::Edit(changed),
            Err(error) => Reply::Result(Err(error)),
        }
    }

    fn plan_rights(
        &mut self,
        address: u64,
        length: u64,
        rights: u64,
        context: &mut Context<'_>,
    ) -> Result<u64, CallError> {
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
            return Ok(0);
        }
        let within = |place: &Extent| place.contains(address) && end <= place.end();
        if !within(&places.stack) && !within(&places.heap) {
            return Err(CallError::BadAddress);
        }
        let memory = context.guest.memory();
        let mut editor = Editor { memory, root: context.root, pool: &mut self.pool };
        let (edits, changed) =
            editor.plan(address, length, rights, stub::MAX_EDIT_VALUES).map_err(|_| CallError::BadAddress)?;
        stub::write_edits(memory, places.system.start, &edits).map_err(|_| CallError::BadAddress)?;
        Ok(changed)
    }
}
