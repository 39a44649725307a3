//! Takes a snapshot.

use crate::command::guest::Guest;
use crate::command::say::{say, say_unless, show};
use crate::command::{refuse, value};
use clap::{Args, ValueHint};
use coracle_tender::confine::{Confinement, Duty, Kept};
use coracle_tender::image::Image;
use coracle_tender::machine::Chosen;
use coracle_tender::snapshot::{Said, Snapshot, TakeError};
use serde_json::json;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Take {
    /// The file to write
    #[arg(short, long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    #[command(flatten)]
    guest: Guest,
    #[command(flatten)]
    backend: Chosen,
    /// Give up when the program is not ready after this time: a number with ms, s, m or h, or of
    /// seconds
    #[arg(long, value_name = "TIME", value_parser = value::duration, default_value = "60s")]
    timeout: Duration,
    /// Say nothing but what the program says and why there is no snapshot
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    confinement: Confinement,
    /// Print what was made as JSON; all that the program writes then goes to standard error
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// The image
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// Arguments for the program. All behind the first of them are, options among it; one that begins
    /// with - comes after a `--`
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true)]
    arguments: Vec<OsString>,
}

/// What was made.
struct Made {
    snapshot: Snapshot,
    said: Said,
    /// The file's length.
    size: u64,
}

impl Take {
    pub(super) fn carry_out(mut self) -> u8 {
        let (json, quiet) = (self.json, self.quiet);
        // clap has seen to it that both are there.
        let image = self.image.take().unwrap_or_default();
        let output = self.output.take().unwrap_or_default();
        let made = match self.make(&image, &output) {
            Ok(made) => made,
            Err(error) => return refuse(error),
        };
        pass_on(&made.said, json);
        if json {
            return show(format_args!("{}\n", made.json(&image, &output)), 0);
        }
        if !quiet {
            say(format_args!("coracle: {}\n", made.in_words(&image, &output)));
        }
        0
    }

    fn make(self, path: &Path, output: &Path) -> Result<Made, Box<dyn Error>> {
        self.confinement.prepare()?;
        let host = Arc::new(self.backend.open(|words| say_unless(self.quiet, words))?);
        self.confinement.files([path], Some(folder(output)), |words| say(words))?;
        let image = Arc::new(Image::open(path)?);
        check_output(output, &image)?;
        self.confinement.started_with(&host, &[image.file().as_fd()], Kept::WriteFiles)?;
        let arguments = std::iter::once(path.into()).chain(self.arguments).collect();
        let config = self.guest.config(arguments);
        self.confinement.calls(Duty::Snapshot, &host)?;
        let taken = Snapshot::take(&host, &image, &config, self.timeout);
        let (snapshot, said) = taken.map_err(|error| explained(error, path))?;
        if let Err(error) = snapshot.save(output) {
            // What it wrote while it initialised itself is not said again by anyone.
            pass_on(&said, self.json);
            return Err(unwritten(output, &error).into());
        }
        let size = fs::metadata(output).map(|metadata| metadata.len()).unwrap_or_default();
        Ok(Made { snapshot, said, size })
    }
}

/// Refuses before the program is started what would fail, or do harm, when it is ready.
fn check_output(output: &Path, image: &Image) -> Result<(), String> {
    let shown = output.display();
    match fs::metadata(output) {
        Ok(there) if there.is_dir() => {
            return Err(format!("`{shown}` is a directory: name the file to write in it"));
        }
        // What is renamed over it would take its place.
        Ok(there) if !there.is_file() => {
            return Err(format!("`{shown}` is not an ordinary file and would be replaced: name another"));
        }
        Ok(there) => {
            let is_image = |image: fs::Metadata| (image.dev(), image.ino()) == (there.dev(), there.ino());
            if image.file().metadata().is_ok_and(is_image) {
                return Err(format!("`{shown}` is the image itself: name another file to write"));
            }
        }
        Err(_) => {}
    }
    match fs::metadata(folder(output)) {
        Ok(folder) if folder.is_dir() && output.file_name().is_some() => Ok(()),
        Ok(_) => Err(format!("cannot write `{shown}`: that is not the path of a file")),
        Err(error) => Err(format!("cannot write `{shown}`: its folder cannot be reached ({error})")),
    }
}

/// Where a file is to be.
fn folder(output: &Path) -> &Path {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Why the file is not there.
fn unwritten(output: &Path, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room, or name a file on another disk"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a file in a folder that you may write to"
        }
        _ => "nothing is left of it",
    };
    format!("cannot write `{}` ({error}): {hint}", output.display())
}

/// Why there is no snapshot, with the program's last words before it.
fn explained(error: TakeError, path: &Path) -> String {
    let path = path.display();
    match error {
        TakeError::Ended { ref report, ref diagnostics, .. } => {
            pass_on(&Said { diagnostics: diagnostics.clone(), ..Said::default() }, false);
            if let Some(report) = report {
                say(report);
            }
            format!("{path}: {error}")
        }
        TakeError::Late(limit) => {
            format!("{path}: the program was not ready after {limit:?} (--timeout): give it longer")
        }
        // These name the file, or are about the host.
        error @ (TakeError::Boot(_) | TakeError::Machine(_)) => error.to_string(),
        error => format!("{path}: {error}"),
    }
}

/// Passes on what the program wrote while it initialised itself. Where nobody reads, nothing is said.
fn pass_on(said: &Said, json: bool) {
    let _ = if json {
        io::stderr().write_all(&said.output)
    } else {
        let mut output = io::stdout().lock();
        output.write_all(&said.output).and_then(|()| output.flush())
    };
    let _ = io::stderr().write_all(&said.diagnostics);
}

impl Made {
    fn in_words(&self, image: &Path, output: &Path) -> String {
        let state = if self.snapshot.is_ready() { "ready" } else { "as it is before its first instruction" };
        format!(
            "{}: {state}, in {} ({}, of which {} of memory that its runs share)",
            image.display(),
            output.display(),
            value::bytes(self.size),
            value::bytes(self.snapshot.shared())
        )
    }

    fn json(&self, image: &Path, output: &Path) -> serde_json::Value {
        json!({
            "image": image.display().to_string(),
            "file": output.display().to_string(),
            "size": self.size,
            "memory": self.snapshot.memory(),
            "shared": self.snapshot.shared(),
            "program": self.snapshot.program().label(),
            "ready": self.snapshot.is_ready(),
        })
    }
}
