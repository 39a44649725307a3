//! `coracle inspect`.

use super::refuse;
use super::say::show;
use clap::Args;
use coracle_tender::image::inspect::Inspection;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what is in an image and whether it would run
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    image: PathBuf,
}

impl Inspect {
    pub(super) fn carry_out(&self) -> ExitCode {
        let inspection = match Inspection::of(&self.image) {
            Ok(inspection) => inspection,
            Err(error) => return refuse(error),
        };
        if self.json {
            match serde_json::to_string_pretty(&inspection) {
                Ok(json) => show(json + "\n", ExitCode::SUCCESS),
                Err(error) => refuse(error),
            }
        } else {
            show(format_args!("{inspection}\n"), ExitCode::SUCCESS)
        }
    }
}
