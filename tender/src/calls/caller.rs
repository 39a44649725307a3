//! Whom a one-shot run works for.

use std::time::Instant;

/// Where the input of one run comes from and where its output goes.
///
/// While one of these works, the guest waits. What may wait itself gives up at the deadline.
pub trait Caller {
    /// The length of the whole input in bytes, where it is known.
    fn total(&self) -> Option<u64>;

    /// The input that comes next: waits for it. Empty when all has been taken.
    ///
    /// # Errors
    /// Why there will be no more.
    fn input(&mut self, deadline: Option<Instant>) -> Result<&[u8], Abort>;

    /// Takes bytes off the front of what [`input`](Self::input) has answered.
    fn consume(&mut self, count: usize);

    /// Where to append so many bytes of output.
    ///
    /// # Errors
    /// [`Abort::TooMuchOutput`], [`Abort::Gone`].
    fn room(&mut self, length: usize) -> Result<&mut Vec<u8>, Abort>;

    /// Output has been appended.
    ///
    /// # Errors
    /// As [`room`](Self::room).
    fn appended(&mut self, deadline: Option<Instant>) -> Result<(), Abort>;

    /// How many more bytes of standard error are kept. Those beyond are not even copied.
    fn diagnostics_room(&self) -> usize {
        usize::MAX
    }

    /// What the guest writes to standard error.
    fn diagnostics(&mut self, text: &[u8]);

    /// Calls a function of the host: its result, or the text that says why it failed. `None` when it is
    /// not offered.
    fn function(
        &mut self,
        name: &str,
        argument: &[u8],
        deadline: Option<Instant>,
    ) -> Option<Result<Vec<u8>, String>>;
}

/// Why a run does not go on, on the caller's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// The guest has put out more than it may.
    TooMuchOutput,
    /// Nobody waits for the answer any more.
    Gone,
    /// The deadline has passed.
    Late,
    /// There is no input to be had: the run is the one that initialises the program.
    NotReady,
}
