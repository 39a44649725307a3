//! `coracle doctor`.
use clap::Args;
use std::process::ExitCode;
/// Says whether this machine can run guests, and what is missing if it cannot
#[derive(Debug, Args)]
pub(super) struct Doctor {}
impl Doctor {
    pub(super) fn carry_out(&self) -> ExitCode {
        ExitCode::SUCCESS
    }
}
