//! Functions of the host.
//!
//! Whoever runs the program may offer it functions by name; none is there unless it is. A function
//! takes one value and gives one back, or fails with a text.
//!
//! With the feature `json`, `host_functions!` declares them with their types,
//! and `call` calls one. What passes in between is JSON. [`call_bytes`] passes bytes as they are.

use crate::call;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use coracle_hypercall::call::MAX_BYTES;
use coracle_hypercall::error::CallError;
use coracle_hypercall::invocation::Outcome;
use core::fmt;

/// A reply as long as this costs one exit, a longer one another for each 64 MiB.
const CAPACITY: usize = 4096;

/// Why a function of the host gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostError {
    /// The host does not offer it.
    NoSuchFunction,
    /// It failed, and says why.
    Failed(String),
    /// Its result is not of the type that the program declares; or the argument has no form in JSON.
    Type(String),
    /// The tender refused the call.
    Call(CallError),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::NoSuchFunction => CallError::NoSuchFunction.fmt(f),
            HostError::Failed(reason) => write!(f, "the function of the host failed: {reason}"),
            HostError::Type(reason) => write!(f, "a value is not what the other side takes: {reason}"),
            HostError::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for HostError {}

impl From<CallError> for HostError {
    fn from(error: CallError) -> HostError {
        match error {
            CallError::NoSuchFunction => HostError::NoSuchFunction,
            error => HostError::Call(error),
        }
    }
}

/// Calls a function of the host with these bytes, at most 64 MiB.
///
/// # Errors
/// When there is no such function, when it fails, when the argument is too long.
pub fn call_bytes(name: &str, argument: &[u8]) -> Result<Vec<u8>, HostError> {
    let mut reply = vec![0; CAPACITY];
    let (outcome, length) = call::host(name, argument, &mut reply)?;
    let mut have = length.min(CAPACITY);
    reply.resize(length, 0);
    while have < length {
        let end = length.min(have + MAX_BYTES as usize);
        match call::host_reply(have, &mut reply[have..end])? {
            0 => return Err(HostError::Call(CallError::Unknown)),
            more => have += more,
        }
    }
    match outcome {
        Outcome::Done => Ok(reply),
        Outcome::Failed => Err(HostError::Failed(String::from_utf8_lossy(&reply).into_owned())),
    }
}

/// Calls a function of the host with this value.
///
/// # Errors
/// When there is no such function, when it fails, when argument or result are not of the types that the
/// two sides have agreed on.
#[cfg(feature = "json")]
pub fn call<R: serde::de::DeserializeOwned>(
    name: &str,
    argument: &(impl serde::Serialize + ?Sized),
) -> Result<R, HostError> {
    use alloc::string::ToString;
    let argument = serde_json::to_vec(argument).map_err(|error| HostError::Type(error.to_string()))?;
    let reply = call_bytes(name, &argument)?;
    serde_json::from_slice(&reply).map_err(|error| HostError::Type(error.to_string()))
}

/// Declares functions of the host, which the program then calls as its own. Each returns a `Result`
/// with [`HostError`](crate::host::HostError).
///
/// ```ignore
/// coracle::host_functions! {
///     /// What the host knows under a key.
///     pub fn lookup(key: &str) -> Option<String>;
///     fn count(event: &Event);
/// }
///
/// fn greeting() -> Result<String, HostError> {
///     Ok(lookup("greeting")?.unwrap_or_default())
/// }
/// ```
///
/// An only parameter is passed as it is, several as a list, none as `null`. Needs the feature `json`.
#[cfg(feature = "json")]
#[macro_export]
macro_rules! host_functions {
    (@argument) => { () };
    (@argument $only:ident) => { $only };
    (@argument $($several:ident)+) => { ($($several,)+) };
    (@result) => { () };
    (@result $result:ty) => { $result };
    ($(
        $(#[$attribute:meta])*
        $visible:vis fn $name:ident($($parameter:ident: $type:ty),* $(,)?) $(-> $result:ty)?;
    )*) => {
        $(
            $(#[$attribute])*
            $visible fn $name(
                $($parameter: $type),*
            ) -> ::core::result::Result<$crate::host_functions!(@result $($result)?), $crate::host::HostError> {
                $crate::host::call(
                    ::core::stringify!($name),
                    &$crate::host_functions!(@argument $($parameter)*),
                )
            }
        )*
    };
}
