//! Random bytes, from the host's kernel straight into guest memory.

use super::{Context, Reply, State};
use crate::paging::Access;
use coracle_hypercall::error::CallError;
use coracle_hypercall::memory::GuestSlice;
use std::io;

/// How much is drawn before looking whether the guest is to stop.
const PIECE: u64 = 1 << 20;

impl State {
    pub(super) fn entropy(&mut self, buffer: u64, length: u64, context: &mut Context<'_>) -> Reply {
        let slice = GuestSlice::new(buffer, length);
        let memory = context.guest.memory();
        if length > PIECE && self.events.has_turn() {
            return Reply::Later;
        }
        // First the whole range is checked, so that a refused call has written nothing.
        if let Err(error) = context.guest.runs(slice, Access::Write, |_| Ok(())) {
            return Reply::Result(Err(error));
        }
        let mut stopped = false;
        let mut failure = None;
        let result = context.guest.runs(slice, Access::Write, |run| {
            let mut done = 0;
            while done < run.length {
                let piece = memory
                    .writable(run.physical + done, PIECE.min(run.length - done))
                    .map_err(|_| CallError::BadAddress)?;
                let guard = piece.ptr_guard_mut();
                // SAFETY: the kernel writes at most `piece.len()` bytes to memory that is the guest's.
                let drawn = unsafe { libc::getrandom(guard.as_ptr().cast(), piece.len(), 0) };
                if drawn > 0 {
                    done += drawn as u64;
                } else {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        failure = Some(error);
                        return Err(CallError::Io);
                    }
                }
                if self.events.must_stop() {
                    stopped = true;
                    return Err(CallError::Interrupted);
                }
            }
            Ok(())
        });
        if stopped {
            return Reply::Stop;
        }
        if let Some(cause) = failure {
            return Reply::Result(Err(self.host_failed("draw random numbers", &cause, context)));
        }
        Reply::Result(result.map(|()| 0))
    }
}
