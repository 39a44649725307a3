//! `coracle invoke`.

use crate::scratch::Scratch;
use crate::support::{coracle, example, fed, guest, no_kvm, output, stderr, stdout};
use coracle_hypercall::exit;
use std::ffi::OsStr;
use std::process::{Command, Output};

fn invoke<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(coracle());
    command.arg("invoke").args(arguments);
    command
}

fn path(path: std::path::PathBuf) -> String {
    path.into_os_string().into_string().expect("a path of ours")
}

fn echo(options: &[&str], input: &[u8]) -> Output {
    let program = path(example("release", "handler-echo"));
    fed(invoke(&[&[&*program, "--input", "-"], options].concat()), input)
}

#[test]
fn an_input_gives_its_output_and_nothing_else() {
    if no_kvm() {
        return;
    }
    let ended = echo(&[], b"Hello\n\xff");
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(0), &b"Hello\n\xff"[..]));
    assert_eq!(stderr(&ended), "");
    let scratch = Scratch::new();
    let file = scratch.path().join("input");
    std::fs::write(&file, "from a file").expect("a file");
    let ended =
        output(invoke(&[example("release", "cat").as_os_str(), "--input".as_ref(), file.as_os_str()]));
    assert_eq!((ended.status.code(), stdout(&ended).as_str()), (Some(0), "from a file"));
    let ended = output(invoke(&[example("release", "hello")]));
    assert_eq!(stdout(&ended), "Hello from a virtual machine of my own!\n");
}

#[test]
fn outputs_come_in_the_order_of_the_lines_however_many_calls_are_made_at_once() {
    if no_kvm() {
        return;
    }
    let input: String = (0..500).map(|number| format!("line {number}\n")).collect();
    for jobs in ["1", "4"] {
        let ended = echo(&["--each-line", "--jobs", jobs, "-n", "2"], input.as_bytes());
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert!(stdout(&ended) == input.repeat(2));
        let words = stderr(&ended);
        assert!(words.starts_with("1000 calls in ") && words.contains(" 0 failed\nmin "), "{words}");
        assert!(["median", "p90", "p99", "max"].iter().all(|word| words.contains(word)), "{words}");
    }
}

#[test]
fn json_has_a_line_for_each_call_and_one_for_all() {
    if no_kvm() {
        return;
    }
    let ended = echo(&["--each-line", "--json"], b"one\n\xff\n");
    let lines = stdout(&ended);
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let [one, two, summary]: [serde_json::Value; 3] =
        lines.collect::<Vec<_>>().try_into().expect("three lines");
    assert_eq!(
        (&one["call"], &one["result"], &one["output"]),
        (&0.into(), &"answered".into(), &"one".into())
    );
    assert_eq!((&two["call"], &two["output_hex"]), (&1.into(), &"ff".into()));
    assert_eq!((&summary["summary"]["calls"], &summary["summary"]["failed"]), (&2.into(), &0.into()));
}

#[test]
fn the_status_says_how_the_first_call_went_that_was_not_answered() {
    if no_kvm() {
        return;
    }
    let http = path(guest("serve_http"));
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\n\r\n");
    let call = |target, options: &[&str]| {
        let arguments = [&[&*http, "--input", "-"], options].concat();
        fed(invoke(&arguments), request(target).as_bytes())
    };
    assert_eq!(call("/", &[]).status.code(), Some(0));
    let ended = call("/panic", &["-n", "3"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("the secret of the guest"), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("3 failed"), "{}", stderr(&ended));
    for target in ["/compute", "/sleep?600000"] {
        let ended = call(target, &["--timeout", "100ms"]);
        assert_eq!(ended.status.code(), Some(exit::TIMEOUT.into()));
        assert!(stderr(&ended).contains("still running after 100ms"), "{}", stderr(&ended));
    }
    let ended = output(invoke(&[&*path(guest("exit_with")), "--", "7"]));
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr(&ended).contains("status 7"), "{}", stderr(&ended));
    assert_eq!(output(invoke(&["/nowhere"])).status.code(), Some(exit::TENDER.into()));
}

#[test]
fn a_fresh_layout_gives_each_call_a_machine_whose_memory_lies_elsewhere() {
    if no_kvm() {
        return;
    }
    let program = path(example("release", "handler-echo"));
    let ended = fed(invoke(&[&*program, "--input", "-", "--fresh-layout", "-n", "5"]), b"Hello\n");
    assert_eq!((ended.status.code(), stdout(&ended)), (Some(0), "Hello\n".repeat(5)));
}
