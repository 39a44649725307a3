//! What the README shows is what one gets.
//!
//! Its blocks of language `console` are transcripts: a line that begins with `$ ` is a command, the
//! lines up to the next one are what it prints, on both streams. `…` in a line stands for any text,
//! alone on a line for any number of lines.

use crate::support::{coracle, example, no_kvm, run};
use std::io::Read;
use std::process::Command;

const README: &str = include_str!("../../../README.md");
const HELLO: &str = include_str!("../../../examples/hello/src/main.rs");

/// A command of a transcript and the lines that it prints.
#[derive(Debug)]
struct Step {
    command: &'static str,
    printed: Vec<&'static str>,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks("console") {
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command, printed: Vec::new() }),
                None => steps.last_mut().expect("a block begins with a command").printed.push(line),
            }
        }
    }
    steps
}

/// The contents of the README's fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let after = README.split(fence.as_str()).skip(1);
    after.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// How a command of the README is carried out here.
enum Known {
    /// It is left out: it builds, or it is what runs this very test.
    LeftOut,
    /// It prints the exit status of the command before.
    Status,
    /// It boots a guest or runs the tender.
    Runs(Command),
}

/// `None` for a command that is not known here.
fn known(command: &str) -> Option<Known> {
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["cargo", "install", "--locked", "--path", "tender"] => Known::LeftOut,
        ["cargo", "xtask", "test"] => Known::LeftOut,
        ["cargo", "xtask", "run", name] => Known::Runs(run::<&str>(&[], example("debug", name), &[])),
        ["cargo", "xtask", "run", name, "--", ref arguments @ ..] => {
            Known::Runs(run(&[], example("debug", name), arguments))
        }
        // The program of one's own, which is the hello example: started by Linux, as cargo does.
        ["cargo", "run", "--release"] => {
            let mut command = Command::new(example("release", "hello"));
            command.env("CORACLE", coracle());
            Known::Runs(command)
        }
        ["coracle", ref arguments @ ..] => {
            let mut command = Command::new(coracle());
            command.args(arguments.iter().map(|word| match word.strip_prefix("target/release/") {
                Some(name) => example("release", name).into_os_string(),
                None => word.into(),
            }));
            Known::Runs(command)
        }
        ["echo", "$?"] => Known::Status,
        _ => return None,
    })
}

/// A command line in words; double quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match (character, words.last_mut()) {
            ('"', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (_, Some(word)) => word.push(character),
            (_, None) => {}
        }
    }
    words
}

/// What a command prints on both streams, in order, and its exit status. Images are named as the
/// README names them.
fn carry_out(mut command: Command) -> (String, Option<i32>) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    let mut child = command.spawn().expect("the command starts");
    // It holds the pipe's other end.
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it prints text");
    let status = child.wait().expect("it ends").code();
    for (profile, shown) in [("debug", "examples/target/debug/"), ("release", "target/release/")] {
        text = text.replace(&*example(profile, "").to_string_lossy(), shown);
    }
    (text, status)
}

/// Whether lines are as the README shows them.
fn are_shown(lines: &[&str], shown: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skipped| are_shown(&lines[skipped..], rest)),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| is_shown(line, first) && are_shown(lines, rest))
        }
    }
}

/// Whether a line is as the README shows it.
fn is_shown(line: &str, shown: &str) -> bool {
    match shown.split_once('…') {
        None => line == shown,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_shown(&rest[at..], after))
        }),
    }
}

#[test]
fn every_command_in_the_readme_is_known_to_this_test() {
    let steps = steps();
    assert!(!steps.is_empty());
    for step in steps {
        assert!(known(step.command).is_some(), "the README shows `{}`: say here how to run it", step.command);
    }
}

#[test]
fn commands_in_the_readme_print_what_it_shows() {
    if no_kvm() {
        return;
    }
    let mut last = None;
    for step in steps() {
        let text = match known(step.command) {
            Some(Known::Runs(command)) => {
                let (text, status) = carry_out(command);
                last = status;
                text
            }
            Some(Known::Status) => last.map_or(String::new(), |status| format!("{status}\n")),
            Some(Known::LeftOut) | None => continue,
        };
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            are_shown(&lines, &step.printed),
            "`{}` prints\n{text}\nand the README shows\n{}",
            step.command,
            step.printed.join("\n")
        );
    }
}

#[test]
fn the_program_in_the_readme_is_the_hello_example() {
    let code: Vec<&str> = HELLO.lines().skip_while(|line| line.starts_with("//!")).collect();
    let shown = blocks("rust");
    assert_eq!(shown.first().map(|block| block.trim_end()), Some(code.join("\n").as_str()));
}
