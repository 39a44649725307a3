//! HTTP servers to hold `coracle serve` against, and the load for all of them.
//!
//! ```text
//! bench-http native           a server that answers with the request's body; prints its port
//! bench-http spin NS          the same, which computes for NS nanoseconds before
//! bench-http spawn PROGRAM    the same, where a process of its own passes the body on for each request
//! bench-http load PORT SECONDS    64 connections that ask again and again; prints answers per second
//! ```
//!
//! The servers are built as that of `coracle serve` is: hyper on as many runtimes of one thread as there are
//! CPUs. They end when their standard input does.

mod load;
mod server;

use std::process::ExitCode;

const USAGE: &str = "usage: bench-http native | spin NS | spawn PROGRAM | load PORT SECONDS";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["native"] => server::run(server::Work::Nothing),
        ["spin", time] => server::run(server::Work::Spin(time.parse()?)),
        ["spawn", program] => server::run(server::Work::Spawn((*program).into())),
        ["load", port, seconds] => {
            println!("{:.1}", load::run(port.parse()?, seconds.parse()?)?);
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
