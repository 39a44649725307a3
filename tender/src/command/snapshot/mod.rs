//! `coracle snapshot`, which takes one, and `coracle snapshot verify`.

mod take;
mod verify;

use clap::{Args, Subcommand};

/// Starts an image and keeps it in a file as it is when it is ready
///
/// `coracle run FILE` goes on from there, as often as you like, in the time that it takes to map the
/// file. A program with a handler is ready when its handler can be called. An ordinary program is
/// where it calls `coracle::ready()`; one that never does, or that reads its input before, is kept as
/// it is before its first instruction.
///
/// What the program writes while it initialises itself goes to this command's own streams; it has no
/// input then. The file holds all of its memory, secrets among it, and the image.
///
/// It ends with 0, or with 125 when there is no snapshot. A file that is there already is replaced when
/// the new one is whole.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_usage = "coracle snapshot [OPTIONS] --output <FILE> <IMAGE> [ARGUMENTS]...\n       \
        coracle snapshot verify [OPTIONS] <FILE>",
    after_help = "An image that is named \"verify\" is given as ./verify.\n\nExamples:\n  \
        coracle snapshot target/release/handler -o handler.snapshot\n  \
        echo text | coracle run handler.snapshot\n  \
        coracle snapshot verify handler.snapshot"
)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    take: take::Take,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Verify),
}

impl Snapshot {
    pub(super) fn carry_out(self) -> u8 {
        match self.command {
            Some(Command::Verify(verify)) => verify.carry_out(),
            None => self.take.carry_out(),
        }
    }
}
