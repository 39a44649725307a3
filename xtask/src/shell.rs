//! Commands that are shown before they run.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What went wrong, as a sentence for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure(message.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of a task or of a part of one.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// Puts `doing` before the reason of a failure.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|reason| Failure(format!("{}: {reason}", doing())))
    }
}

/// A command line to be shown and run.
pub(crate) struct Line {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    /// Where it runs, if not at the root of the repository.
    directory: Option<PathBuf>,
}

/// A cargo command. It is the cargo that runs this task.
pub(crate) fn cargo(subcommand: &str) -> Line {
    line("cargo").arg(subcommand)
}

/// A command by the name of its program.
pub(crate) fn line(program: impl AsRef<OsStr>) -> Line {
    Line {
        program: program.as_ref().to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
        directory: None,
    }
}

impl Line {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Line {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Line {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Line {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in another directory than the root of the repository.
    pub(crate) fn within(mut self, directory: &Path) -> Line {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Shows the command and runs it; a status other than 0 is a failure.
    pub(crate) fn run(&self) -> Result {
        self.show();
        let status = self.command().status().context(|| self.name())?;
        if status.success() { Ok(()) } else { Err(Failure(format!("{}: {status}", self.name()))) }
    }

    /// The same, with all that it writes given away line by line.
    pub(crate) fn run_watched(&self, mut watch: impl FnMut(&[u8])) -> Result {
        self.show();
        let (reader, writer) = std::io::pipe().context(|| self.name())?;
        let errors = writer.try_clone().context(|| self.name())?;
        // The command is dropped, and with it our ends of the pipe.
        let mut child = self.command().stdout(writer).stderr(errors).spawn().context(|| self.name())?;
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).context(|| self.name())? != 0 {
            watch(&line);
            line.clear();
        }
        let status = child.wait().context(|| self.name())?;
        if status.success() { Ok(()) } else { Err(Failure(format!("{}: {status}", self.name()))) }
    }

    /// Shows the command, runs it and returns what it wrote to standard output.
    pub(crate) fn output(&self) -> Result<Vec<u8>> {
        self.show();
        self.quiet_output()
    }

    /// Runs a command that only asks something, without showing it.
    pub(crate) fn quiet_output(&self) -> Result<Vec<u8>> {
        let output = self.command().stderr(Stdio::inherit()).output().context(|| self.name())?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(Failure(format!("{}: {}", self.name(), output.status)))
        }
    }

    /// Shows the command and becomes it: its exit status is this process's.
    pub(crate) fn exec(&self) -> Result {
        self.show();
        Err(self.command().exec()).context(|| self.name())
    }

    fn show(&self) {
        eprintln!("$ {}", self.text());
    }

    fn command(&self) -> Command {
        let program = if self.program == "cargo" {
            std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
        } else {
            self.program.clone()
        };
        let mut command = Command::new(program);
        command.args(&self.arguments).current_dir(self.directory.as_deref().unwrap_or(crate::paths::root()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The program and, for cargo, its subcommand.
    fn name(&self) -> String {
        let words = [Some(&self.program), self.arguments.first().filter(|_| self.program == "cargo")];
        words.into_iter().flatten().map(|word| shown(word)).collect::<Vec<_>>().join(" ")
    }

    /// The command as one would type it at the root of the repository.
    fn text(&self) -> String {
        // Variables are for programs that may run elsewhere, so paths in them stay whole.
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(&self.program).chain(&self.arguments).map(|word| shown(word));
        variables.chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a shell at the root wants it: paths below the root without the root.
fn shown(word: &OsStr) -> String {
    let short = Path::new(word).strip_prefix(crate::paths::root()).unwrap_or(Path::new(word));
    quoted(short.as_os_str())
}

/// A word as a shell wants it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it_at_the_root() {
        let manifest = crate::paths::root().join("examples/Cargo.toml");
        let line = cargo("build").arg("--manifest-path").arg(manifest).arg("it's").env("A", "b c");
        assert_eq!(line.text(), r"A='b c' cargo build --manifest-path examples/Cargo.toml 'it'\''s'");
    }
}
