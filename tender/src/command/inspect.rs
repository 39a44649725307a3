//! `coracle inspect`.

use super::refuse;
use super::say::show;
use clap::Args;
use coracle_tender::image::inspect::Inspection;
use std::path::PathBuf;

/// Shows what is in an image and whether it would run
///
/// It ends with 0 for an image that `coracle run` takes, with 1 for a file that it would refuse, and
/// with 125 for one that cannot be read.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    image: PathBuf,
}

impl Inspect {
    pub(super) fn carry_out(&self) -> u8 {
        let inspection = match Inspection::of(&self.image) {
            Ok(inspection) => inspection,
            Err(error) => return refuse(error),
        };
        let status = if inspection.refusal.is_none() { 0 } else { 1 };
        if self.json {
            match serde_json::to_string_pretty(&inspection) {
                Ok(json) => show(json + "\n", status),
                Err(error) => refuse(error),
            }
        } else {
            show(inspection, status)
        }
    }
}
