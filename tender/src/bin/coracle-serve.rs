//! The server behind `coracle serve`, which executes it.

use clap::Parser;
use coracle_hypercall::exit;
use coracle_tender::serve::{Options, run};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "coracle-serve", bin_name = "coracle serve", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { exit::TENDER } else { 0 };
            let printed = error.print();
            return ExitCode::from(if printed.is_ok() { status } else { exit::TENDER });
        }
    };
    ExitCode::from(run(arguments.options).unwrap_or_else(|error| {
        use std::io::Write;
        // Where nobody reads, nobody misses it.
        let _ = writeln!(std::io::stderr(), "coracle: {error}");
        exit::TENDER
    }))
}
