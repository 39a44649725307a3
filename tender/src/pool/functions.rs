//! Functions of the host that guests may call.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    pub(super) fn call(&self, name: &str, argument: &[u8]) -> Option<Result<Vec<u8>, String>> {
        let function = self.0.get(name)?;
        // What the function shares it has to keep sound itself, as any function that may panic.
        let result = catch_unwind(AssertUnwindSafe(|| function(argument)));
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
        assert_eq!(functions.call("add", b"[2, 3]"), Some(Ok(b"5".to_vec())));
        assert_eq!(functions.call("add", b"[200, 100]"), Some(Err("too much".to_owned())));
        assert!(functions.call("add", b"2").is_some_and(|result| result.is_err()));
        assert_eq!(functions.call("sub", b"[2, 3]"), None);
    }

    #[test]
    fn a_function_that_panics_has_failed() {
        let mut functions = Functions::default();
        functions.add("panic".to_owned(), |_| panic!("for the test"));
        assert!(functions.call("panic", b"").is_some_and(|result| result.is_err()));
    }
}
