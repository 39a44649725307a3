//! Subcommands that start no guest.

use crate::support::{coracle, output, stderr, stdout, variant};
use coracle_hypercall::exit;
use std::process::{Command, Output};

fn command(arguments: &[&str]) -> Output {
    let mut command = Command::new(coracle());
    command.args(arguments);
    output(command)
}

#[test]
fn inspect_ends_with_0_for_an_image_and_without_an_empty_line() {
    let image = variant("fixed");
    for options in [&["inspect"][..], &["inspect", "--json"]] {
        let ended = command(&[options, &[image.to_str().expect("a path of ours")]].concat());
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let shown = stdout(&ended);
        assert!(shown.ends_with('\n') && !shown.ends_with("\n\n"), "{shown:?}");
    }
}

#[test]
fn inspect_ends_with_1_for_what_run_would_refuse() {
    let program = coracle();
    for options in [&["inspect"][..], &["inspect", "--json"]] {
        let ended = command(&[options, &[program.to_str().expect("a path of ours")]].concat());
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(stdout(&ended).contains("an ordinary Linux program"), "{}", stdout(&ended));
    }
    assert!(stdout(&command(&["inspect", "--help"])).contains("with 1 for a file that it would refuse"));
}

#[test]
fn inspect_ends_with_125_for_a_file_that_is_not_there() {
    assert_eq!(command(&["inspect", "/nowhere/hello"]).status.code(), Some(exit::TENDER.into()));
}

#[test]
fn the_man_page_is_whole() {
    let ended = command(&["man"]);
    let page = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0));
    for words in [".TH coracle 1", ".SS coracle run", "\\-\\-no\\-aslr", ".SH EXIT STATUS", ".SH EXAMPLES"] {
        assert!(page.contains(words), "{words}:\n{page}");
    }
}
