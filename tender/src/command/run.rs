//! `coracle run`.

use super::guest::Guest;
use super::say::{Patience, say, say_unless, say_with};
use super::{refuse, signals, statistics, value};
use clap::{Args, ValueHint};
use coracle_hypercall::exit;
use coracle_hypercall::log::Level;
use coracle_tender::calls::{Console, LogEntry};
use coracle_tender::confine::{Confinement, Duty, Kept};
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::{Chosen, Host};
use coracle_tender::runnable::Runnable;
use coracle_tender::snapshot::Snapshot;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs an image as a virtual machine, or goes on from a snapshot
///
/// The guest's standard streams are those of this command. It ends with the guest's own status; with
/// 101 for a panic, 124 when its time is up, 125 when it could not be started, 128 + a signal's
/// number for a CPU fault (139 bad access, 132 illegal instruction, 136 division).
///
/// A snapshot (see `coracle snapshot`) has its memory, arguments and environment already.
#[derive(Debug, Args)]
#[command(
    override_usage = "coracle run [OPTIONS] <IMAGE> [ARGUMENTS]...",
    after_help = "Examples:\n  coracle run target/release/hello\n  \
        coracle run --mem 1G --timeout 5s app --verbose input.txt\n  \
        echo text | coracle run --stats cat\n  \
        echo text | coracle run handler.snapshot"
)]
pub(super) struct Run {
    #[command(flatten)]
    guest: Guest,
    #[command(flatten)]
    backend: Chosen,
    /// End the guest after this time, with status 124: a number with ms, s, m or h, or of seconds
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    timeout: Option<Duration>,
    /// Show what the guest's exits cost, on standard error
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "table")]
    stats: Option<statistics::Format>,
    /// Say nothing but what the guest says and why it could not be started
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    confinement: Confinement,
    /// Take names for crash reports from this file: the image as it was before it was stripped
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// The image or snapshot, and arguments for the guest: whatever follows the image, options among it. A `--`
    /// between them is left out
    #[arg(value_name = "IMAGE", required = true, num_args = 1.., trailing_var_arg = true,
          value_hint = ValueHint::FilePath)]
    image_and_arguments: Vec<OsString>,
}

/// For how long the last words wait to be taken when the guest's time is up.
const A_MOMENT: Duration = Duration::from_secs(1);

impl Run {
    pub(super) fn carry_out(self) -> u8 {
        let arguments = guest_arguments(self.image_and_arguments);
        let path = arguments.first().map(PathBuf::from).unwrap_or_default();
        let count = self.stats.is_some();
        let quiet = self.quiet;
        let read = self.symbols.as_deref().into_iter().chain([&*path]);
        let host = match self.backend.open(|words| say_unless(quiet, words)) {
            Ok(host) => Arc::new(host),
            Err(error) => return refuse(error),
        };
        if let Err(error) = self.confinement.files(read, None, |words| say(words)) {
            return refuse(error);
        }
        let kept = if self.symbols.is_some() { Kept::ReadFiles } else { Kept::Nothing };
        let made = Runnable::open(&path).map_err(Box::<dyn Error>::from).and_then(|opened| {
            self.confinement.started_with(&host, &[opened.file().as_fd()], kept)?;
            let instance = match opened {
                Runnable::Image(image) => boot(&host, &image, self.guest, arguments, count),
                Runnable::Snapshot(file) => resume(&host, file, &path, &self.guest, &arguments, count),
            };
            let mut instance = instance?;
            instance.get_ready()?;
            Ok(instance)
        });
        let mut instance = match made {
            Ok(made) => made,
            Err(error) => return refuse(error),
        };
        signals::forward(instance.stopper());
        let mut log = |entry: &LogEntry<'_>| {
            if !quiet {
                print_log(entry);
            }
        };
        if let Err(error) = self.confinement.calls(Duty::Run, &host) {
            return refuse(error);
        }
        let start = Instant::now();
        let end = instance.run(&Console::standard(), &mut log, self.timeout);
        let patience = patience(&end, start, self.timeout);
        if let (Some(format), Some(statistics)) = (self.stats, instance.statistics()) {
            say_with(patience, statistics::text(&statistics, format));
        }
        let report = instance.report(&end, self.symbols.as_deref());
        if !quiet {
            match &report {
                Some(report) => say_with(patience, report),
                None => explain(&end, &path, self.timeout, patience),
            }
        }
        if !quiet && end.status() != Some(0) && instance.lost_its_snapshot() {
            let name = path.display();
            let words = "its file was cut short while it ran, and memory with it: copy the snapshot again";
            say_with(patience, format_args!("coracle: {name}: {words}\n"));
        }
        let status = report.map(|report| report.status()).or(end.status()).unwrap_or(exit::TENDER);
        instance.end_machine();
        // What is left to give back to the host goes with the process, which is quicker.
        std::process::exit(status.into());
    }
}

fn boot(
    host: &Host,
    image: &Arc<Image>,
    guest: Guest,
    arguments: Vec<OsString>,
    count: bool,
) -> Result<Instance, Box<dyn Error>> {
    let config = Config { statistics: count, ..guest.config(arguments) };
    Ok(Instance::boot(host, image, &config)?)
}

/// Makes an instance of a snapshot. What was decided when that was taken cannot be asked for any more.
fn resume(
    host: &Arc<Host>,
    file: File,
    path: &Path,
    guest: &Guest,
    arguments: &[OsString],
    count: bool,
) -> Result<Instance, Box<dyn Error>> {
    let given = guest.given().or((arguments.len() > 1).then_some("arguments"));
    if let Some(given) = given {
        let words = "is a snapshot, whose memory, arguments and environment were decided when it was taken";
        let path = path.display();
        return Err(format!("`{path}` {words}: leave out {given}, or give it to `coracle snapshot`").into());
    }
    let snapshot = Arc::new(Snapshot::from_file(host, file, path)?);
    let mut instance = Instance::resume(&snapshot)?;
    if count {
        instance.count();
    }
    Ok(instance)
}

/// The guest's arguments, its name first: all that was given, but for a `--` after the image.
fn guest_arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    if given.get(1).is_some_and(|second| second == "--") {
        given.remove(1);
    }
    given
}

/// How long what is left to say waits to be taken: not much longer than the guest's time.
fn patience(end: &End, start: Instant, timeout: Option<Duration>) -> Patience<'static> {
    let soon = Instant::now() + A_MOMENT;
    match end {
        End::TimedOut | End::Asked(_) => Patience::Until(soon),
        _ => match timeout.and_then(|timeout| start.checked_add(timeout)) {
            Some(deadline) => Patience::Until(deadline.max(soon)),
            None => Patience::Endless,
        },
    }
}

/// Says why a guest ended that neither ended by itself nor crashed.
fn explain(end: &End, path: &Path, timeout: Option<Duration>, patience: Patience<'_>) {
    let name = path.display();
    match end {
        End::TimedOut => {
            let limit = timeout.unwrap_or_default();
            let words = format_args!("coracle: {name}: still running after {limit:?} (--timeout): ended\n");
            say_with(patience, words);
        }
        End::Failed(reason) => say_with(patience, format_args!("coracle: {name}: {reason}\n")),
        End::Dead(dead) => say_with(patience, format_args!("coracle: {name}: {dead}\n")),
        _ => {}
    }
}

fn print_log(entry: &LogEntry<'_>) {
    let level = match entry.level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    };
    let patience = Patience::Unless(&|| entry.must_stop());
    say_with(patience, format_args!("{level} {}: {}\n", entry.target, entry.message));
}
