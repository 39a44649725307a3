//! Checks all bytes of a snapshot.

use crate::command::say::{say, show};
use crate::command::{refuse, value};
use clap::{Args, ValueHint};
use coracle_tender::snapshot::Snapshot;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Reads all of a snapshot and checks that it is as it was written
///
/// `coracle run` checks what a snapshot says of itself and reads its pages as they are touched; this
/// checks these and its image too. It ends with 0 when all is well, else with 125 and the reason.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Say nothing but what is wrong
    #[arg(long)]
    quiet: bool,
    /// The snapshot
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

impl Verify {
    pub(super) fn carry_out(&self) -> u8 {
        let mut progress = Progress::new(!self.quiet && io::stderr().is_terminal());
        let verified = Snapshot::verify(&self.file, |done, all| progress.show(done, all));
        progress.clear();
        match verified {
            Ok(()) if self.quiet => 0,
            Ok(()) => show(format_args!("{}: all of it is as it was written\n", self.file.display()), 0),
            Err(error) => refuse(error),
        }
    }
}

/// How far it is, for a person who waits for longer than a moment.
struct Progress {
    terminal: bool,
    next: Instant,
    shown: bool,
}

/// When the first word comes, and how long there is between two.
const FIRST: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(200);

impl Progress {
    fn new(terminal: bool) -> Progress {
        Progress { terminal, next: Instant::now() + FIRST, shown: false }
    }

    fn show(&mut self, done: u64, all: u64) {
        let now = Instant::now();
        if self.terminal && now >= self.next {
            let percent = u128::from(done) * 100 / u128::from(all.max(1));
            say(format_args!("\rcoracle: {percent} % of {}", value::bytes(all)));
            (self.next, self.shown) = (now + BETWEEN, true);
        }
    }

    /// Leaves the line as it was.
    fn clear(&self) {
        if self.shown {
            say("\r\x1b[K");
        }
    }
}
