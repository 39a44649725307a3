//! Functions of the host that guests may call.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When the call must have ended that has called the function of the host which runs on this thread. Nothing
/// ends a function from outside: one that waits for something gives up then. `None` where there is no such
/// function.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documentation/surroundings.rs"));
/// use coracle_tender::pool::{Limits, Pool, call_deadline};
/// use std::sync::{Mutex, mpsc};
/// use std::time::{Duration, Instant};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let snapshot = snapshot("handler-expressions");
/// let (_sender, prices) = mpsc::channel::<f64>();
/// let prices = Mutex::new(prices);
/// let next = move |_: [f64; 0]| {
///     let left = call_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
///     let prices = prices.lock().map_err(|_| "nobody is left who knows")?;
///     prices.recv_timeout(left.unwrap_or(Duration::MAX)).map_err(|_| "there was no price in time")
/// };
/// let pool = Pool::builder(snapshot).function("next", next).build()?;
/// let limits = Limits::new().time(Duration::from_millis(50));
/// assert!(pool.call(b"next()", limits).is_err());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn call_deadline() -> Option<Instant> {
    DEADLINE.get()
}

/// A function on bytes.
type Function = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// The functions that a pool offers, by name.
#[derive(Default)]
pub(super) struct Functions(HashMap<String, Function>);

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Functions {
    pub(super) fn add(
        &mut self,
        name: String,
        function: impl Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    ) {
        self.0.insert(name, Box::new(function));
    }

    /// Adds one whose argument and result are JSON.
    pub(super) fn add_typed<A: DeserializeOwned, R: Serialize, E: Display>(
        &mut self,
        name: String,
        function: impl Fn(A) -> Result<R, E> + Send + Sync + 'static,
    ) {
        self.add(name, move |argument| {
            let argument =
                serde_json::from_slice(argument).map_err(|error| format!("wrong argument: {error}"))?;
            let result = function(argument).map_err(|error| error.to_string())?;
            serde_json::to_vec(&result).map_err(|error| format!("the result has no form in JSON: {error}"))
        });
    }

    /// Calls one; `None` when it is not there. A panic counts as a failure.
    pub(super) fn call(
        &self,
        name: &str,
        argument: &[u8],
        deadline: Option<Instant>,
    ) -> Option<Result<Vec<u8>, String>> {
        let function = self.0.get(name)?;
        // The thread may be in a function of another call already.
        let outer = DEADLINE.replace(deadline);
        // What the function shares it has to keep sound itself, as any function that may panic.
        let result = catch_unwind(AssertUnwindSafe(|| function(argument)));
        DEADLINE.set(outer);
        Some(result.unwrap_or_else(|_| Err("the host's function panicked".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::Functions;

    #[test]
    fn a_typed_function_takes_and_gives_json() {
        let mut functions = Functions::default();
        functions.add_typed("add".to_owned(), |(a, b): (u8, u8)| a.checked_add(b).ok_or("too much"));
        assert_eq!(functions.call("add", b"[2, 3]", None), Some(Ok(b"5".to_vec())));
        assert_eq!(functions.call("add", b"[200, 100]", None), Some(Err("too much".to_owned())));
        assert!(functions.call("add", b"2", None).is_some_and(|result| result.is_err()));
        assert_eq!(functions.call("sub", b"[2, 3]", None), None);
    }

    #[test]
    fn a_function_that_panics_has_failed() {
        let mut functions = Functions::default();
        functions.add("panic".to_owned(), |_| panic!("for the test"));
        assert!(functions.call("panic", b"", None).is_some_and(|result| result.is_err()));
    }
}
