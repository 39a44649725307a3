//! What the command itself says. `print!` and `eprint!` panic where nobody reads; this does not.

use coracle_hypercall::exit;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long words wait to be taken, where standard error is full.
#[derive(Clone, Copy)]
pub(super) enum Patience<'a> {
    /// For ever.
    Endless,
    /// Until this moment. What there is room for is said even after it.
    Until(Instant),
    /// Until this answers true; it is asked each time that a signal arrives.
    Unless(&'a dyn Fn() -> bool),
}

/// How much a pipe takes without waiting once it says that there is room (PIPE_BUF of Linux).
const PIECE: usize = 4096;

/// Says something on standard error, all at once. Where nobody reads, nothing is said.
pub(super) fn say(text: impl Display) {
    say_with(Patience::Endless, text);
}

/// The same, unless the command is to be quiet.
pub(super) fn say_unless(quiet: bool, text: impl Display) {
    if !quiet {
        say(text);
    }
}

/// Says something on standard error, as far as it is taken while there is patience.
pub(super) fn say_with(patience: Patience<'_>, text: impl Display) {
    let text = text.to_string();
    let mut rest = text.as_bytes();
    let mut error = io::stderr().lock();
    while !rest.is_empty() {
        let mut piece = rest;
        if let Patience::Until(moment) = patience {
            if !wait_for_room(Some(moment)) {
                return;
            }
            piece = rest.get(..PIECE).unwrap_or(rest);
        }
        let failure = match error.write(piece) {
            Ok(written) => {
                rest = rest.get(written..).unwrap_or_default();
                continue;
            }
            Err(failure) => failure.kind(),
        };
        match failure {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => {
                wait_for_room(None);
            }
            _ => return,
        }
        if let Patience::Unless(given_up) = patience
            && given_up()
        {
            return;
        }
    }
}

/// Waits until standard error takes something, or (`until` none) a signal arrives. Says whether it
/// does.
fn wait_for_room(until: Option<Instant>) -> bool {
    loop {
        let mut entry = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
        // Rounded up, so that the last millisecond is not waited for again and again.
        let left = until.map(|moment| {
            let left = moment.saturating_duration_since(Instant::now());
            left + Duration::from_micros(999)
        });
        let left = left.map_or(-1, |left| i32::try_from(left.as_millis()).unwrap_or(i32::MAX));
        // SAFETY: one entry, a local.
        let ready = unsafe { libc::poll(&mut entry, 1, left) };
        if ready >= 0 || until.is_none() {
            return ready > 0;
        }
    }
}

/// Writes what was asked for to standard output, and gives the status for how that went.
pub(super) fn show(text: impl Display, status: u8) -> u8 {
    let mut output = io::stdout().lock();
    match output.write_all(text.to_string().as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => status,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::CLOSED_OUTPUT,
        Err(error) => super::refuse(format_args!("cannot write standard output: {error}")),
    }
}
