//! `coracle doctor`.

use crate::not_run::not_run;
use crate::scratch::Scratch;
use crate::support::{coracle, example, no_kvm, output, output_of_copy, stderr, stdout, variant};
use coracle_hypercall::exit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn doctor(options: &[&str]) -> Command {
    let mut command = Command::new(coracle());
    command.arg("doctor").args(options);
    command
}

#[test]
fn doctor_succeeds_where_a_guest_ran_and_says_what_it_cost() {
    if no_kvm() {
        return;
    }
    let ended = output(doctor(&[]));
    assert!(ended.status.success(), "{}", stdout(&ended));
    assert!(stdout(&ended).contains("start to end") && stdout(&ended).ends_with("Guests run here.\n"));
}

#[test]
fn doctor_says_the_same_as_json() {
    if no_kvm() {
        return;
    }
    let ended = output(doctor(&["--json"]));
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(json["runs"], true);
    assert!(json["start_us"].as_f64().is_some_and(|time| time > 0.0));
    assert!(json["call_us"].as_f64().is_some_and(|time| time > 0.0));
    let backends = json["backends"].as_array().expect("backends");
    let names: Vec<_> = backends.iter().filter_map(|ran| ran["backend"].as_str()).collect();
    assert_eq!(names, ["kvm", "process"]);
    for (ran, words) in backends.iter().zip([["KVM", "confined process"], ["signals", "confined process"]]) {
        let wall = ran["wall"].as_str().expect("a wall");
        assert!(words.iter().all(|word| wall.contains(word)), "{wall}");
    }
}

#[test]
fn nothing_is_missing_where_a_guest_ran() {
    if no_kvm() {
        return;
    }
    let ended = output(doctor(&["--json"]));
    let json: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let findings = json["findings"].as_array().expect("findings");
    assert!(findings.len() >= 4 && json["runs"] == true, "{json}");
    assert!(findings.iter().all(|finding| finding["state"] != "missing"), "{json}");
}

/// The command as somebody who may not open /dev/kvm: nobody, if these tests run as root and the
/// device is not open to all.
fn as_nobody(scratch: &Scratch, arguments: &[&str]) -> Option<Command> {
    // SAFETY: the call has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let open_to_all = std::fs::metadata("/dev/kvm")
        .is_ok_and(|device| std::os::unix::fs::PermissionsExt::mode(&device.permissions()) & 0o006 != 0);
    if !is_root || open_to_all || !Path::new("/dev/kvm").exists() {
        not_run("only root can become somebody who may not open /dev/kvm");
        return None;
    }
    // The directory of the tests' programs may be closed to others.
    let copy = scratch.program("coracle", &std::fs::read(coracle()).expect("coracle"));
    let mut command = Command::new(copy);
    command.args(arguments).uid(65534).gid(65534);
    Some(command)
}

#[test]
fn doctor_tells_a_user_who_may_not_use_kvm_what_to_do_and_that_guests_run_in_processes() {
    let scratch = Scratch::new();
    let Some(command) = as_nobody(&scratch, &["doctor"]) else { return };
    let ended = output_of_copy(command);
    let said = stdout(&ended);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(
        said.contains("MISSING  kvm")
            && said.contains("usermod -aG ")
            && said.contains("process: start to end")
            && said.ends_with("Guests run here.\n"),
        "{said}"
    );
}

#[test]
fn a_user_who_may_not_use_kvm_runs_guests_in_processes_and_is_told_why() {
    let scratch = Scratch::new();
    let image = scratch.program("hello", &std::fs::read(variant("fixed")).expect("an image"));
    let image = image.to_str().expect("a path of ours");
    for (options, told) in [
        (&["run", image][..], true),
        (&["run", "--quiet", image], false),
        (&["invoke", image], true),
        (&["invoke", "--quiet", image], false),
    ] {
        let Some(mut command) = as_nobody(&scratch, options) else { return };
        command.env_remove("CORACLE_BACKEND");
        let ended = output_of_copy(command);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let said = stderr(&ended);
        assert_eq!(said.lines().count(), usize::from(told), "{said}");
        assert_eq!(said.contains("process") && said.contains("/dev/kvm"), told, "{said}");
    }
}

#[test]
fn a_server_says_what_runs_its_functions_unless_it_is_to_be_quiet() {
    let scratch = Scratch::new();
    scratch.program("coracle-serve", &std::fs::read(coracle().with_file_name("coracle-serve")).expect("it"));
    // It ends before it listens.
    let arguments = ["serve", "--listen", "127.0.0.1:0", "/dev/null"];
    for (arguments, told) in [(arguments.to_vec(), true), ([&arguments[..], &["--quiet"]].concat(), false)] {
        let Some(mut command) = as_nobody(&scratch, &arguments) else { return };
        command.env_remove("CORACLE_BACKEND");
        let ended = output_of_copy(command);
        let said = stderr(&ended);
        assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
        assert_eq!(said.contains("running in a process, without KVM"), told, "{said}");
        assert!(said.contains("/dev/null"), "{said}");
    }
}

#[test]
fn a_quiet_invoke_gives_outputs_and_no_summary() {
    if no_kvm() {
        return;
    }
    let invoke = |options: &[&str]| {
        let mut command = Command::new(coracle());
        command.arg("invoke").args(options).args(["-n", "3"]).arg(example("release", "hello"));
        output(command)
    };
    let (told, quiet) = (invoke(&[]), invoke(&["--quiet"]));
    assert_eq!((told.status.code(), quiet.status.code()), (Some(0), Some(0)));
    assert_eq!(stdout(&told), stdout(&quiet));
    assert_ne!(stderr(&told), "");
    assert_eq!(stderr(&quiet), "");
}

#[test]
fn run_refuses_a_user_who_may_not_use_kvm_and_says_what_to_do() {
    let scratch = Scratch::new();
    let image = scratch.program("hello", &std::fs::read(variant("fixed")).expect("an image"));
    let image = image.to_str().expect("a path of ours");
    let Some(command) = as_nobody(&scratch, &["run", "--backend", "kvm", image]) else { return };
    let ended = output_of_copy(command);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()));
    let said = stderr(&ended);
    for word in ["/dev/kvm", "belongs to", "setfacl -m u:$USER:rw", "--backend process"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
}
