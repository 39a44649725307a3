//! The options that say what a guest that starts anew gets.

use super::value;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use coracle_tender::instance::Config;
use coracle_tender::layout::Placement;
use std::ffi::OsString;

/// What decides how a guest starts, and cannot be changed of one that has started.
#[derive(Debug, Args)]
pub(super) struct Guest {
    /// Memory for the guest, backed when it is touched: a number with K, M, G or T (powers of 1024),
    /// or of bytes [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    mem: Option<u64>,
    /// Set a variable of the guest's environment; KEY alone passes this command's own on
    #[arg(long, value_name = "KEY=VALUE",
          value_parser = OsStringValueParser::new().try_map(value::variable))]
    env: Vec<(OsString, OsString)>,
    /// Put image, stack and heap at the same places every time
    #[arg(long)]
    no_aslr: bool,
}

impl Guest {
    /// How an instance with these arguments is made.
    pub(super) fn config(self, arguments: Vec<OsString>) -> Config {
        let default = Config::default();
        Config {
            memory: self.mem.unwrap_or(default.memory),
            arguments,
            environment: self.env,
            placement: if self.no_aslr { Placement::Fixed } else { Placement::Random },
            ..default
        }
    }

    /// One of these options that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let options =
            [("--mem", self.mem.is_some()), ("--env", !self.env.is_empty()), ("--no-aslr", self.no_aslr)];
        options.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}
