//! `coracle serve`, by clients of its own.

mod client;
mod connections;

mod answers;
mod http2;
mod limits;
mod misbehaviour;
mod settings;

pub(crate) use client::Server;
