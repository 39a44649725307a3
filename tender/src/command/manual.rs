//! `coracle man`: all commands on one page.

use super::refuse;
use super::say::show;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Renderer;
use coracle_hypercall::exit;
use std::fmt::Write;
use std::io;

/// Prints the man page in roff
///
/// It has all commands on one page. To read it: coracle man | man -l -
#[derive(Debug, Args)]
pub(super) struct Man;

impl Man {
    pub(super) fn carry_out<C: CommandFactory>(&self) -> u8 {
        match page(C::command()) {
            Ok(page) => show(page, 0),
            Err(error) => refuse(format_args!("cannot write the man page: {error}")),
        }
    }
}

/// What the exit statuses of `coracle run` mean besides the guest's own.
const STATUSES: [(u8, &str); 10] = [
    (exit::PANIC, "The guest panicked."),
    (exit::TIMEOUT, "The time of --timeout was up."),
    (
        exit::TENDER,
        "The guest could not be started, or had to be given up. Other commands: the command line is wrong, or a file cannot be read.",
    ),
    (exit::INTERRUPT, "Ended by Ctrl-C (SIGINT)."),
    (exit::ILLEGAL_INSTRUCTION, "The guest executed an illegal instruction, or one that is not for guests."),
    (exit::TRAP, "The guest executed a breakpoint."),
    (exit::ARITHMETIC, "The guest divided by zero, or another fault of arithmetic."),
    (exit::BAD_ACCESS, "The guest accessed memory that is not its own, or its stack overflowed."),
    (exit::CLOSED_OUTPUT, "Nobody reads the standard output any more."),
    (exit::TERMINATE, "Ended by SIGTERM."),
];

/// What those of `coracle invoke` mean besides 0.
const OF_INVOKE: [(u8, &str); 4] = [
    (1, "The guest failed, crashed, or used more than it may; or did not get ready for calls."),
    (exit::TIMEOUT, "The time of --timeout was up."),
    (exit::TENDER, "The host could not make the call, the command line is wrong, or a file cannot be read."),
    (exit::CLOSED_OUTPUT, "Nobody reads the standard output any more."),
];

/// What those of `coracle serve` mean.
const OF_SERVE: [(u8, &str); 3] = [
    (0, "All requests were answered."),
    (1, "Requests were still going on when the time of --drain was up, or when a second signal came."),
    (exit::TENDER, "It could not start: standard error says why."),
];

const ENVIRONMENT: &str = ".TP
\\fBCORACLE\\fR
The path of this command. An image that Linux starts directly, as \\fBcargo run\\fR does, looks for
it here to hand itself over; without the variable, it looks beside itself, in the folder above, and
in \\fBPATH\\fR.
.PP
A guest gets the variables that \\fB\\-\\-env\\fR names and no others.
";

/// The page for a command and its subcommands.
fn page(command: Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true).subcommand_value_name("COMMAND");
    command.build();
    let mut page = Vec::new();
    let whole = Renderer::new(command.clone());
    whole.render_title(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    let section = |page: &mut String, name: &str, text: &str| {
        page.push_str(".SH ");
        page.push_str(name);
        page.push('\n');
        page.push_str(text);
    };
    section(&mut page, "NAME", &rendered(|to| whole.render_name_section(to))?);
    section(&mut page, "SYNOPSIS", &rendered(|to| whole.render_synopsis_section(to))?);
    section(&mut page, "OPTIONS", &rendered(|to| whole.render_options_section(to))?);
    section(&mut page, "COMMANDS", "");
    let mut examples = String::new();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        subsection(command, "coracle", &mut page, &mut examples)?;
    }
    section(&mut page, "EXIT STATUS", &statuses());
    section(&mut page, "ENVIRONMENT", ENVIRONMENT);
    section(&mut page, "EXAMPLES", &format!(".nf\n{examples}.fi\n"));
    Ok(page)
}

/// The part of a command, and behind it those of its own subcommands.
fn subsection(command: &Command, parent: &str, page: &mut String, examples: &mut String) -> io::Result<()> {
    let name = format!("{parent} {}", command.get_name());
    // Said once, for all of them.
    let hidden = |arg: clap::Arg| arg.hide(true);
    let part = Renderer::new(command.clone().mut_arg("help", hidden).mut_arg("version", hidden));
    page.push_str(&format!(".SS {name}\n"));
    page.push_str(&rendered(|to| part.render_synopsis_section(to))?);
    page.push_str(".PP\n");
    page.push_str(&rendered(|to| part.render_description_section(to))?);
    page.push_str(&rendered(|to| part.render_options_section(to))?);
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for line in after.lines().filter(|line| line.starts_with("  ")) {
        examples.push_str(&escaped(line.trim()));
        examples.push('\n');
    }
    let mut inner = command.get_subcommands().filter(|command| !command.is_hide_set());
    inner.try_for_each(|inner| subsection(inner, &name, page, examples))
}

/// What a renderer writes, without the preamble and the heading.
fn rendered(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<String> {
    let mut text = Vec::new();
    render(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines =
        text.lines().filter(|line| ![".ie ", ".el ", ".SH "].iter().any(|start| line.starts_with(start)));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

fn statuses() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut section = |words: &str, list: &[(u8, &str)]| {
        text.push_str(words);
        for (status, meaning) in list {
            let _ = writeln!(text, ".TP\n\\fB{status}\\fR\n{}", escaped(meaning));
        }
        text.push_str(".PP\n");
    };
    section(
        "\\fBcoracle run\\fR ends with the status that the guest gives, or with one of these:\n",
        &STATUSES,
    );
    section(
        "\\fBcoracle invoke\\fR ends with 0 when all calls were answered, else as the first that was not says:\n",
        &OF_INVOKE,
    );
    section("\\fBcoracle serve\\fR ends when SIGTERM or SIGINT tells it to:\n", &OF_SERVE);
    section(
        "\\fBcoracle inspect\\fR ends with 1 for a file that would be refused, \\fBcoracle doctor\\fR with 1
where no guest runs. \\fBcoracle snapshot\\fR ends with 125 where there is no snapshot, and
\\fBcoracle snapshot verify\\fR where one is damaged.
",
        &[],
    );
    text
}

/// Text that stands for itself in roff.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::command::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_page_has_every_command_and_option_and_refers_to_no_other_page() {
        let page = page(Arguments::command()).expect("a page");
        let mut command = Arguments::command();
        command.build();
        assert_has_all(&page, &command, "coracle");
        assert!(!page.contains("(1)"), "{page}");
        assert_eq!(page.matches(".TH").count(), 1);
    }

    fn assert_has_all(page: &str, command: &clap::Command, name: &str) {
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = format!("{name} {}", command.get_name());
            assert!(page.contains(&format!("\n.SS {name}\n")), "{name}:\n{page}");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "{option}:\n{page}");
            }
            assert_has_all(page, command, &name);
        }
    }

    #[test]
    fn the_page_has_statuses_environment_and_examples() {
        let page = page(Arguments::command()).expect("a page");
        for words in [
            ".SH EXIT STATUS",
            "\\fB139\\fR",
            "\\fBcoracle invoke\\fR ends with",
            "\\fBcoracle serve\\fR ends when",
            ".SH ENVIRONMENT",
            "\\fBCORACLE\\fR",
            ".SH EXAMPLES\n.nf\ncoracle run target/release/hello\n",
        ] {
            assert!(page.contains(words), "{words}:\n{page}");
        }
    }
}
