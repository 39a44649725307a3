//! Starting programs and timing them.

use crate::shell::{Context, Failure, Result};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A command with nothing on its standard input.
pub(super) fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The nanoseconds from starting a program until it is reaped. Its output goes nowhere. The standard
/// library starts it by `posix_spawn`, whose cost does not depend on the memory of this process.
pub(super) fn start_to_reaped(mut command: Command) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().context(|| name(&command))?;
    let elapsed = begin.elapsed();
    if !status.success() {
        return Err(Failure::new(format!("{}: {status}", name(&command))));
    }
    Ok(elapsed.as_nanos() as f64)
}

/// The number that a program prints.
pub(super) fn printed_number(mut command: Command) -> Result<f64> {
    let output = command.stderr(Stdio::inherit()).output().context(|| name(&command))?;
    if !output.status.success() {
        return Err(Failure::new(format!("{}: {}", name(&command), output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context(|| format!("{}: it printed {text:?}", name(&command)))
}

/// What a program writes to standard error.
pub(super) fn errors(mut command: Command) -> Result<String> {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().context(|| name(&command))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(Failure::new(format!("{}: {}\n{text}", name(&command), output.status)));
    }
    Ok(text)
}

/// The bytes per second at which a program passes `total` bytes from one pipe to another.
pub(super) fn bytes_per_second(mut command: Command, total: usize) -> Result<f64> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let begin = Instant::now();
    let mut child = command.spawn().context(|| name(&command))?;
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let mut output = child.stdout.take().expect("stdout is a pipe");

    let writer = std::thread::spawn(move || {
        let chunk = [b'x'; 1 << 16];
        let mut left = total;
        while left > 0 {
            let part = &chunk[..left.min(chunk.len())];
            input.write_all(part)?;
            left -= part.len();
        }
        Ok::<_, std::io::Error>(())
    });
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        match output.read(&mut buffer).context(|| name(&command))? {
            0 => break,
            count => received += count,
        }
    }
    let status = child.wait().context(|| name(&command))?;
    let elapsed = begin.elapsed();
    let written = writer.join().expect("the writer does not panic");
    if !status.success() || received != total {
        let message = format!("{}: {status} after {received} of {total} bytes", name(&command));
        return Err(Failure::new(message));
    }
    written.context(|| format!("writing to {}", name(&command)))?;
    Ok(total as f64 / elapsed.as_secs_f64())
}

/// Starts a program that echoes its input, sees it echo a line, and calls `look` while it waits
/// for the next.
pub(super) fn while_waiting<T>(mut command: Command, look: impl FnOnce(&Child) -> Result<T>) -> Result<T> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().context(|| name(&command))?;
    let mut echo = [0; 1];
    let mut exchange = || {
        child.stdin.as_mut().expect("stdin is a pipe").write_all(b"\n")?;
        child.stdout.as_mut().expect("stdout is a pipe").read_exact(&mut echo)
    };
    let exchanged = exchange().context(|| name(&command));
    let looked = exchanged.and_then(|()| look(&child));
    drop(child.stdin.take());
    child.wait().context(|| name(&command))?;
    looked
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
