//! The command line.

use super::value;
use crate::confine::Confinement;
use crate::machine::Chosen;
use clap::{Args, ValueEnum, ValueHint};
use hyper::header::HeaderValue;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text for each request
    Text,
    /// A line of JSON for each request and each other entry
    Json,
    /// No entries for requests, text for all else
    Off,
}

/// Serves HTTP, each request in a machine of its own
///
/// Each request is a call of the function whose route matches best, in a machine that no other request
/// has touched. Ends after SIGTERM or SIGINT, when all requests are answered; docs/serving.md says which
/// request gets which answer.
#[derive(Debug, Args)]
#[command(
    override_usage = "coracle serve [OPTIONS] [[ROUTE=]PROGRAM]...",
    after_help = "Examples:\n  coracle serve target/release/handler-echo\n  \
        coracle serve /echo=handler-echo /thumbnail=handler-resize.snapshot --deadline 2s\n  \
        coracle serve --config serve.toml --listen 0.0.0.0:80"
)]
pub struct Options {
    /// Where to listen, once or several times [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Read functions and settings from this file (TOML); what the command line says wins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Memory for each instance: a number with K, M, G or T (powers of 1024), or of bytes
    /// [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub mem: Option<u64>,
    /// End a call after this time, and answer 504: a number with ms, s, m or h, or of seconds
    /// [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub deadline: Option<Duration>,
    /// Answer 413 to a request whose body is longer [default: 16M]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub body: Option<u64>,
    /// End a call that puts out more, and answer 502 [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub output: Option<u64>,
    /// What answers of programs are that do not say it themselves (all but `http` ones): a media type, as
    /// "text/html; charset=utf-8" [default: text/plain of `main` programs that put out text, else
    /// application/octet-stream]
    #[arg(long, value_name = "TYPE", value_parser = value_of_field)]
    pub content_type: Option<HeaderValue>,
    /// How many calls each function makes at once, each in an instance [default: 64]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub instances: Option<u32>,
    /// How many further requests for each function wait; those beyond get 503 [default: 256]
    #[arg(long, value_name = "NUMBER")]
    pub queue: Option<u32>,
    /// How many requests of one client's address are worked on at once; those beyond get 429
    /// [default: any number]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub per_client: Option<u32>,
    /// How many connections there are at most; further ones wait to be accepted [default: 10000, or as
    /// many as there may be descriptors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: Option<u32>,
    /// How long a client may take: to send a request's head, after which its connection is closed; a body that
    /// is not handed on piece by piece, 408 after that; to ask again; to take in what it is sent [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub receive: Option<Duration>,
    /// After SIGTERM, how long requests have to end [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub drain: Option<Duration>,
    /// Boot each program anew so often, so that its memory lies elsewhere
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub fresh_layout: Option<Duration>,
    /// Threads that serve connections and begin calls [default: one for each CPU]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Say nothing before the server listens but why it does not: not what runs the functions
    #[arg(long)]
    pub quiet: bool,
    /// What runs the functions
    #[command(flatten)]
    pub backend: Chosen,
    /// Whether the server locks itself in
    #[command(flatten)]
    pub confinement: Confinement,
    /// How the log is written, on standard error [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<LogFormat>,
    /// Images or snapshots, each with the route that leads to it: a path (/thumbnail), a host
    /// (api.example.org) or both (api.example.org/v1). Without a route: / for a single program, else
    /// /NAME
    #[arg(value_name = "[ROUTE=]PROGRAM", value_hint = ValueHint::FilePath)]
    pub programs: Vec<String>,
}

fn value_of_field(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| "a media type, as text/html".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let hint = "an address of this machine and a port, as 127.0.0.1:8080, 0.0.0.0:80 for all, or [::1]:8080";
    text.parse().map_err(|_| hint.to_owned())
}
