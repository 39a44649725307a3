//! What a guest can wait for.

use bitflags::bitflags;

/// The deadline of a wait that has none.
pub const NO_DEADLINE: u64 = u64::MAX;

bitflags! {
    /// A set of event sources, as [`Wait`](crate::call::Call::Wait) takes and answers it.
    ///
    /// Waiting for [`INTERRUPT`](EventSources::INTERRUPT) or [`TERMINATE`](EventSources::TERMINATE)
    /// once subscribes to it: from then on such a request is kept for the guest to find, and ends a
    /// blocking call with [`Interrupted`](crate::error::CallError::Interrupted), instead of ending
    /// the guest. A wait that answers such a source has consumed it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct EventSources: u64 {
        /// A console read would not wait: there is input, or it has ended.
        const CONSOLE_INPUT = 1;
        /// The user asks the guest to stop what it does (SIGINT at the tender).
        const INTERRUPT = 2;
        /// The host asks the guest to end (SIGTERM at the tender).
        const TERMINATE = 4;
    }
}
