//! What the commands do: confined unless they are asked not to be.

use crate::child::{Blocked, Running};
use crate::not_run::not_run;
use crate::scratch::Scratch;
use crate::serve::Server;
use crate::support::{coracle, example, no_kvm, output, run, stderr};
use coracle_tender::confine::{has_seccomp, landlock_version};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than starting a thread takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this kernel confines nobody.
#[track_caller]
fn unconfined() -> bool {
    if !has_seccomp() {
        not_run("this kernel has no seccomp");
    }
    !has_seccomp()
}

/// A line of what the kernel says of a task.
fn status(task: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{task}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_start_matches(':').trim().to_owned()
}

fn cat(options: &[&str]) -> Running {
    let mut command = run::<&str>(options, example("release", "cat"), &[]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::start(&mut command);
    running.wait_until(Blocked::Reading);
    running
}

#[test]
fn run_is_confined_while_the_guest_runs() {
    if no_kvm() || unconfined() {
        return;
    }
    let running = cat(&[]);
    let task = running.id().to_string();
    assert_eq!(status(&task, "Seccomp"), "2");
    assert_eq!(status(&task, "NoNewPrivs"), "1");
}

#[test]
fn without_confinement_it_says_so() {
    if no_kvm() || unconfined() {
        return;
    }
    let mut running = cat(&["--no-confine"]);
    let task = running.id().to_string();
    assert_eq!(status(&task, "Seccomp"), "0");
    drop(running.input());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.error(), &mut said).expect("text");
    assert_eq!(running.ended().code(), Some(0));
    assert!(said.contains("not confined (--no-confine)"), "{said}");
    let ended = output(run::<&str>(&["--no-confine", "--quiet"], example("stripped", "hello"), &[]));
    assert!(stderr(&ended).contains("not confined"), "{}", stderr(&ended));
}

#[test]
fn descriptors_that_the_command_was_started_with_are_closed() {
    if no_kvm() || unconfined() {
        return;
    }
    // One that a careless shell has left open.
    let file = fs::File::open("/dev/null").expect("/dev/null");
    let mut command = run::<&str>(&[], example("release", "cat"), &[]);
    command.stdin(Stdio::piped());
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: between fork and exec this only duplicates a descriptor.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, move || match libc::dup2(number, 77) {
            77 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let running = Running::start(&mut command);
    running.wait_until(Blocked::Reading);
    assert!(fs::exists(format!("/proc/{}/fd/0", running.id())).expect("readable"));
    assert!(!fs::exists(format!("/proc/{}/fd/77", running.id())).expect("readable"));
}

/// Fails if a task may what others of its user may not. Threads of the kernel's are no concern.
fn assert_without_capabilities(task: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(task, set), 16), Ok(0), "{task}: {set}");
    }
}

#[test]
fn capabilities_are_given_up_before_a_guest_runs() {
    if no_kvm() || unconfined() {
        return;
    }
    // SAFETY: the call takes no arguments.
    if unsafe { libc::geteuid() } != 0 {
        not_run("only root has capabilities to give up");
        return;
    }
    let running = cat(&[]);
    let task = running.id().to_string();
    assert_without_capabilities(&task);
    let children = fs::read_to_string(format!("/proc/{task}/task/{task}/children")).expect("children");
    children.split_whitespace().for_each(assert_without_capabilities);
    let server = Server::start(&[example("release", "handler-echo")]);
    for thread in fs::read_dir(format!("/proc/{}/task", server.process())).expect("threads").flatten() {
        let task = format!("{}/task/{}", server.process(), thread.file_name().to_string_lossy());
        let name = fs::read_to_string(format!("/proc/{task}/comm")).expect("a name");
        if !name.starts_with("kvm") {
            assert_without_capabilities(&task);
        }
    }
    // Of those that root has, some are for files of others, which it may have named.
    let running = cat(&["--no-confine"]);
    assert_ne!(status(&running.id().to_string(), "CapPrm"), "0000000000000000");
}

#[test]
fn all_threads_of_a_server_are_confined_and_those_that_run_guests_alone_more() {
    if no_kvm() || unconfined() {
        return;
    }
    let server = Server::start(&[example("release", "handler-echo")]);
    let tasks = || fs::read_dir(format!("/proc/{}/task", server.process())).expect("threads").flatten();
    // A thread gives itself its name.
    let is_named = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).expect("a name");
        name.trim() == "coracle-reactor"
    };
    let begin = Instant::now();
    while !tasks().any(is_named) {
        assert!(begin.elapsed() < PATIENCE, "no thread of that name");
        std::thread::yield_now();
    }
    let mut filters = Vec::new();
    for task in tasks() {
        let task = format!("{}/task/{}", server.process(), task.file_name().to_string_lossy());
        // Threads of the kernel's, for VMs, have the tender's name only.
        let name = fs::read_to_string(format!("/proc/{task}/comm")).expect("a name");
        if name.starts_with("kvm") {
            continue;
        }
        assert_eq!(status(&task, "Seccomp"), "2", "{name}");
        assert_eq!(status(&task, "NoNewPrivs"), "1", "{name}");
        filters.push((name.trim().to_owned(), status(&task, "Seccomp_filters")));
    }
    let of = |name: &str| filters.iter().find(|(found, _)| found == name).map(|(_, count)| count.as_str());
    assert_eq!(of("coracle-keeper"), Some("2"), "{filters:?}");
    assert_eq!(of("coracle-log"), Some("1"), "{filters:?}");
    assert_eq!(of("coracle-reactor"), Some("1"), "{filters:?}");
}

#[test]
fn every_command_that_runs_guests_has_the_option() {
    if no_kvm() {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    let mut snapshot = Command::new(coracle());
    snapshot.args(["snapshot", "--no-confine", "-o"]).arg(&file).arg(example("release", "handler-echo"));
    let mut invoke = Command::new(coracle());
    invoke.args(["invoke", "--no-confine"]).arg(&file).stdin(Stdio::null());
    for command in [snapshot, invoke] {
        let ended = output(command);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert!(stderr(&ended).contains("not confined (--no-confine)"), "{}", stderr(&ended));
    }
    let server = Server::start(&["--no-confine".as_ref(), file.as_os_str()]);
    assert_eq!(status(&server.process().to_string(), "Seccomp"), "0");
}

#[test]
fn doctor_says_what_confinement_there_is() {
    if no_kvm() {
        return;
    }
    let mut command = Command::new(coracle());
    command.arg("doctor");
    let ended = output(command);
    let said = crate::support::stdout(&ended);
    let line = said.lines().find(|line| line.contains("confinement")).expect("a line");
    assert_eq!(line.contains("seccomp"), has_seccomp(), "{line}");
    if let Some(version) = landlock_version() {
        assert!(line.contains(&format!("landlock {version}")), "{line}");
    }
}
