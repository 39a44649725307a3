//! `coracle inspect`.

use super::refuse;
use super::say::show;
use clap::Args;
use coracle_tender::image::inspect::Inspection;
use coracle_tender::machine::Chosen;
use coracle_tender::runnable::open_file;
use coracle_tender::snapshot::{self, Snapshot};
use serde::Serialize;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

/// Shows what is in an image or a snapshot, and whether it would run
///
/// It ends with 0 for a file that `coracle run` takes, with 1 for a file that it would refuse, and
/// with 125 for one that cannot be read. A snapshot is refused on a CPU that lacks what it needs.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    backend: Chosen,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image or snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub(super) fn carry_out(&self) -> u8 {
        // What cannot be opened or is no file at all is left to the inspection to name.
        let is_snapshot = open_file(&self.file).and_then(|file| Snapshot::is_one(&file)).unwrap_or(false);
        if is_snapshot {
            let host = self.backend.open(|_| {}).map(Arc::new);
            match snapshot::Inspection::of(&host, &self.file) {
                Ok(inspection) => self.show(&inspection, inspection.refusal.is_none()),
                Err(error) => refuse(error),
            }
        } else {
            match Inspection::of(&self.file) {
                Ok(inspection) => self.show(&inspection, inspection.refusal.is_none()),
                Err(error) => refuse(error),
            }
        }
    }

    fn show(&self, inspection: &(impl Serialize + Display), taken: bool) -> u8 {
        let status = if taken { 0 } else { 1 };
        if !self.json {
            return show(inspection, status);
        }
        match serde_json::to_string_pretty(inspection) {
            Ok(json) => show(json + "\n", status),
            Err(error) => refuse(error),
        }
    }
}
