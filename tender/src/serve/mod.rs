//! `coracle serve`: an HTTP server in which each request is a call in a clean instance.
//!
//! | file | what it does |
//! |---|---|
//! | `options` | the command line |
//! | `config` | the configuration's file, and what both say together |
//! | `function` | one function: its program, its pool, its limits |
//! | `routes` | which function a request is for |
//! | `start` | from the settings to a server that runs |
//! | `reactor` | the threads that serve connections |
//! | `connection` | one connection |
//! | `fresh` | new snapshots, for new layouts |
//! | `handle` | one request |
//! | `host` | which host it is for |
//! | `admission` | who has to wait, and who is refused |
//! | `held` | how much of requests and responses is held |
//! | `input` | from a request to what the guest is given |
//! | `answer` | from what the guest put out to a response |
//! | `bridge` | bodies between a connection and the thread that makes the call |
//! | `content` | bodies of responses |
//! | `refusal` | responses of the server itself |
//! | `log` | the log, and who writes it |
//! | `metrics` | what `/-/metrics` shows |
//! | `identity` | request ids |

mod admission;
mod answer;
mod bridge;
mod config;
mod connection;
mod content;
mod fresh;
mod function;
mod handle;
mod held;
mod host;
mod identity;
mod input;
mod log;
mod metrics;
mod options;
mod reactor;
mod refusal;
mod routes;
mod start;

#[allow(dead_code, reason = "the command has a use for all of it")]
#[path = "../command/value.rs"]
mod value;

pub use config::ConfigError;
pub use options::{LogFormat, Options};
pub use start::{ServeError, run};
