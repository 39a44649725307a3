//! `coracle run`.

use super::say::say;
use super::{refuse, signals, statistics, value};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use coracle_hypercall::log::Level;
use coracle_tender::calls::{Console, LogEntry};
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::kvm::Host;
use coracle_tender::layout::Placement;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs an image as a virtual machine
///
/// The guest's standard streams are those of this command. It ends with the guest's own status; with
/// 101 for a panic, 124 when its time is up, 125 when it could not be started, 128 + a signal's
/// number for a CPU fault (139 bad access, 132 illegal instruction, 136 division).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  coracle run target/release/hello\n  \
    coracle run --mem 1G --timeout 5s app -- --verbose input.txt\n  \
    echo text | coracle run --stats cat")]
pub(super) struct Run {
    /// Memory for the guest, backed when it is touched
    #[arg(long, value_name = "SIZE", value_parser = value::size, default_value = "64M")]
    mem: u64,
    /// End the guest after this time, with status 124
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    timeout: Option<Duration>,
    /// Set a variable of the guest's environment; KEY alone passes this command's own on
    #[arg(long, value_name = "KEY=VALUE",
          value_parser = OsStringValueParser::new().try_map(value::variable))]
    env: Vec<(OsString, OsString)>,
    /// Show what the guest's exits cost, on standard error
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "table")]
    stats: Option<statistics::Format>,
    /// Say nothing but what the guest says and why it could not be started
    #[arg(long)]
    quiet: bool,
    /// Put image, stack and heap at the same places every time
    #[arg(long)]
    no_aslr: bool,
    /// Take names for crash reports from this file: the image as it was before it was stripped
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// The image
    image: PathBuf,
    /// Arguments for the guest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Run {
    pub(super) fn carry_out(self) -> ExitCode {
        let image = match Image::open(&self.image) {
            Ok(image) => image,
            Err(error) => return refuse(error),
        };
        let host = match Host::open() {
            Ok(host) => host,
            Err(error) => return refuse(error),
        };
        let mut arguments = vec![self.image.clone().into_os_string()];
        arguments.extend(self.arguments);
        let config = Config {
            memory: self.mem,
            arguments,
            environment: self.env,
            placement: if self.no_aslr { Placement::Fixed } else { Placement::Random },
            statistics: self.stats.is_some(),
        };
        let mut instance = match Instance::boot(&host, &image, &config) {
            Ok(instance) => instance,
            Err(error) => return refuse(error),
        };
        signals::forward(instance.stopper());
        let quiet = self.quiet;
        let mut log = |entry: &LogEntry| {
            if !quiet {
                print_log(entry);
            }
        };
        let end = instance.run(&Console::standard(), &mut log, self.timeout);
        if let (Some(format), Some(statistics)) = (self.stats, instance.statistics()) {
            statistics::print(&statistics, format);
        }
        let status = match instance.report(&end, self.symbols.as_deref()) {
            Some(report) => {
                if !quiet {
                    say(&report);
                }
                report.status()
            }
            None => {
                if !quiet {
                    explain(&end, &image, self.timeout);
                }
                end.status()
            }
        };
        // What is left to give back to the host goes with the process, which is quicker.
        std::process::exit(status.into());
    }
}

/// Says why a guest ended that neither ended by itself nor crashed.
fn explain(end: &End, image: &Image, timeout: Option<Duration>) {
    let name = image.path().display();
    match end {
        End::TimedOut => {
            say(format_args!(
                "coracle: {name}: still running after {:?} (--timeout): ended\n",
                timeout.unwrap_or_default()
            ));
        }
        End::Dead(dead) => say(format_args!("coracle: {name}: {dead}\n")),
        _ => {}
    }
}

fn print_log(entry: &LogEntry) {
    let level = match entry.level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    };
    say(format_args!("{level} {}: {}\n", entry.target, entry.message));
}
