//! Handlers whose input and output are values: JSON outside, serde inside.

use super::{fail, finish, input};
use core::fmt::Display;
use serde::{Deserialize, Serialize};

/// Says that the program is ready, and gives the input as a value, which may borrow from it.
#[must_use]
pub fn request<Q: Deserialize<'static>>() -> Q {
    let input: &'static [u8] = input();
    match serde_json::from_slice(input) {
        Ok(request) => request,
        Err(error) => fail(&format_args!("the input is not what the handler takes: {error}")),
    }
}

/// Ends the run with this value.
pub fn respond(response: impl Serialize) -> ! {
    match serde_json::to_vec(&response) {
        Ok(output) => finish(&[], &output),
        Err(error) => fail(&format_args!("the output cannot be written as JSON: {error}")),
    }
}

/// Ends the run with this value, or with the reason why there is none.
pub fn respond_result(result: Result<impl Serialize, impl Display>) -> ! {
    match result {
        Ok(response) => respond(response),
        Err(reason) => fail(&reason),
    }
}
