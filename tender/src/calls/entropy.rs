//! Random bytes, from the host's kernel straight into guest memory.

use super::{Context, Reply, State};
use crate::paging::Access;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::GuestSlice;

/// How much is drawn before looking whether the guest is to stop.
const PIECE: u64 = 1 << 20;

impl State {
    pub(super) fn entropy(&mut self, buffer: u64, length: u64, context: &mut Context<'_>) -> Reply {
        let slice = GuestSlice::new(buffer, length);
        let memory = context.guest.memory();
        // First the whole range is checked, so that a refused call has written nothing.
        if let Err(error) = context.guest.runs(slice, Access::Write, |_| Ok(())) {
            return Reply::Result(Err(error));
        }
        let mut stopped = false;
        let result = context.guest.runs(slice, Access::Write, |run| {
            let mut done = 0;
            while done < run.length {
                let piece = memory
                    .slice(run.physical + done, PIECE.min(run.length - done))
                    .map_err(|_| CallError::BadAddress)?;
                let guard = piece.ptr_guard_mut();
                // SAFETY: the kernel writes at most `piece.len()` bytes to memory that is the guest's.
                let drawn = unsafe { libc::getrandom(guard.as_ptr().cast(), piece.len(), 0) };
                if drawn > 0 {
                    done += drawn as u64;
                } else if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                    return Err(CallError::Io);
                }
                if self.events.must_stop() {
                    stopped = true;
                    return Err(CallError::Interrupted);
                }
            }
            Ok(())
        });
        if stopped { Reply::Stop } else { Reply::Result(result.map(|()| 0)) }
    }
}
