//! What the host could not do for a guest: the guest gets to hear that, the log also why.

use super::{Context, LogEntry, State, TENDER_TARGET};
use coracle_hypercall::error::CallError;
use coracle_hypercall::log::Level;
use std::io;

/// Failures of the host that have been said.
#[derive(Debug, Default)]
pub struct Failures(Vec<(&'static str, Option<i32>)>);

impl Failures {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether this one is new. From then on it is not.
    fn is_new(&mut self, doing: &'static str, cause: &io::Error) -> bool {
        let failure = (doing, cause.raw_os_error());
        let is_new = !self.0.contains(&failure);
        if is_new {
            self.0.push(failure);
        }
        is_new
    }
}

impl State {
    /// Says in the log why the host could not do something, each cause once however often a guest
    /// tries again. Answers what the guest gets to hear.
    pub(super) fn host_failed(
        &mut self,
        doing: &'static str,
        cause: &io::Error,
        context: &mut Context<'_>,
    ) -> CallError {
        if self.failures.is_new(doing, cause) {
            (context.log)(&LogEntry {
                level: Level::Error,
                target: TENDER_TARGET.to_owned(),
                message: format!("cannot {doing}: {cause}"),
                events: &self.events,
            });
        }
        CallError::Io
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;
    use std::io::Error;

    #[test]
    fn each_cause_is_said_once() {
        let (full, broken) = (Error::from_raw_os_error(libc::ENOSPC), Error::from_raw_os_error(libc::EIO));
        let mut failures = Failures::default();
        assert!(failures.is_new("write", &full));
        assert!(!failures.is_new("write", &full));
        assert!(failures.is_new("write", &broken));
        assert!(failures.is_new("read", &full));
    }
}
