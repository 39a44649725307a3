//! Subcommands whose options are described when they are needed: `coracle run` starts sooner without.

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// What the list of commands says of one.
pub(super) trait About: Args {
    const ABOUT: &'static str;
}

/// A subcommand whose options nobody asks for in most runs.
#[derive(Debug)]
pub(super) struct Later<T>(pub(super) T);

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Later<T>, Error> {
        T::from_arg_matches(matches).map(Later)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: About> Args for Later<T> {
    fn augment_args(command: Command) -> Command {
        command.about(T::ABOUT).defer(T::augment_args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.about(T::ABOUT).defer(T::augment_args_for_update)
    }
}
