//! `coracle serve`: executes `coracle-serve`, which lies beside this program. A server in this one would cost
//! the start of every guest of `coracle run`.

use super::later::About;
use super::refuse;
use clap::Args;
use coracle_tender::serve::Options;
use std::os::unix::process::CommandExt;
use std::process::Command;

// The command line is here too, so that it has help and completions, and is checked.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    _options: Options,
}

impl About for Serve {
    const ABOUT: &'static str = "Serves HTTP, each request in a machine of its own";
}

impl Serve {
    pub(super) fn carry_out(self) -> u8 {
        let server = match std::env::current_exe() {
            Ok(own) => own.with_file_name("coracle-serve"),
            Err(error) => return refuse(format_args!("cannot find out where this program lies: {error}")),
        };
        // The server starts as any program does.
        // SAFETY: no thread of this process depends on what the signal does.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let error = Command::new(&server).args(std::env::args_os().skip(2)).exec();
        refuse(format_args!(
            "{}: cannot execute it: {error}: the server is a program of its own beside `coracle`, where \
             `cargo install --path tender` and `cargo xtask dist` put it",
            server.display()
        ))
    }
}
