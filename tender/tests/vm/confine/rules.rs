//! Every rule is for something that is done: the commands are followed, and what they call is held against
//! the rules.

use super::tracer::{Call, follow};
use crate::library::alone;
use crate::not_run::not_run;
use crate::scratch::Scratch;
use crate::support::{coracle, example, guest, no_watching, run};
use coracle_tender::confine::rules::{LISTS, List};
use coracle_tender::confine::{Duty, has_seccomp};
use coracle_tender::machine::Backend;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Rules that were used, by the places of their list and of themselves in it.
type Used = BTreeSet<(usize, usize)>;

/// Follows a command that has this duty.
fn watch(
    used: &mut Used,
    duty: Duty,
    backend: Backend,
    command: &mut Command,
    talk: impl FnOnce(&mut Child),
) {
    let mut seen: BTreeSet<Call> = BTreeSet::new();
    let mut process = 0;
    let talk = |child: &mut Child| {
        process = child.id();
        talk(child);
    };
    let status = follow(command, talk, |call| {
        seen.insert(*call);
    });
    assert!(libc::WIFEXITED(status), "{command:?}: {status:#x}");
    assert_ne!(libc::WEXITSTATUS(status), 125, "{command:?}");
    assert!(!seen.is_empty(), "{command:?} was not confined");
    for (place, List { rules, .. }) in LISTS.iter().enumerate().filter(|(_, list)| list.is_for(duty, backend))
    {
        for (index, rule) in rules.iter().enumerate() {
            let fits =
                |(number, arguments): &Call| *number == rule.call as u64 && rule.fits(arguments, process);
            if seen.iter().any(fits) {
                used.insert((place, index));
            }
        }
    }
}

/// A command that says nothing to anybody.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// The names that backends have on a command line.
fn name(backend: Backend) -> &'static str {
    Backend::NAMES.iter().find(|(_, other)| *other == backend).expect("a name").0
}

/// The programs and files that the commands are given.
struct Given {
    backend: Backend,
    scratch: Scratch,
}

impl Given {
    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn run(&self, options: &[&str], image: PathBuf, arguments: &[&str]) -> Command {
        let mut command = run(options, image, arguments);
        command.env(Backend::VARIABLE, name(self.backend));
        quiet(&mut command);
        command
    }

    fn coracle(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(coracle());
        command.args(arguments).env(Backend::VARIABLE, name(self.backend));
        quiet(&mut command);
        command
    }

    /// Takes a snapshot, which is to be at `file`.
    fn snapshot(&self, image: &Path, file: &Path) -> Command {
        let mut command = self.coracle(&["snapshot", "-o"]);
        command.arg(file).arg(image);
        command
    }
}

/// Guests that run, crash, wait, and are ended.
fn runs(given: &Given, used: &mut Used) {
    let mut watch = |command: &mut Command, talk: fn(&mut Child)| {
        watch(used, Duty::Run, given.backend, command, talk);
    };
    let nothing: fn(&mut Child) = |_| {};
    watch(&mut given.run(&["--stats"], example("stripped", "hello"), &[]), nothing);
    watch(&mut given.run(&["--timeout", "100ms"], guest("forever"), &["compute"]), nothing);
    watch(&mut given.run(&["--timeout", "100ms"], guest("forever"), &["wait"]), nothing);
    watch(&mut given.run(&["--timeout", "1s"], guest("forever"), &["call"]), nothing);
    watch(&mut given.run(&[], guest("call_often"), &["log"]), nothing);
    watch(&mut given.run(&[], example("release", "allocate"), &[]), nothing);
    watch(&mut given.run(&[], example("release", "clock"), &[]), nothing);
    let with_names = example("release", "crash");
    let symbols = ["--symbols", with_names.to_str().expect("a path")];
    for kind in
        ["null-read", "write-constant", "stack-overflow", "privileged", "syscall", "panic", "breakpoint"]
    {
        watch(&mut given.run(&symbols, example("stripped", "crash"), &[kind]), nothing);
    }
    // More than a pipe holds, and the last of it late.
    let mut cat = given.run(&[], example("release", "cat"), &[]);
    watch(cat.stdin(Stdio::piped()).stdout(Stdio::piped()), |child| {
        let mut input = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            let piece = vec![b'a'; 1 << 20];
            // Its end is seen by how it ends.
            let _ = input.write_all(&piece).and_then(|()| input.write_all(&piece));
        });
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    });
    let file = given.path("run.snapshot");
    assert!(
        given
            .snapshot(&example("release", "handler-echo"), &file)
            .status()
            .is_ok_and(|status| status.success())
    );
    watch(&mut given.run(&[], file, &[]), nothing);
    // One that crashes as it goes on, with names from the image within.
    let file = given.path("crash.snapshot");
    assert!(given.snapshot(&guest("on_command"), &file).status().is_ok_and(|status| status.success()));
    let words = given.path("words");
    fs::write(&words, "panic").expect("a file");
    watch(given.run(&[], file, &[]).stdin(File::open(&words).expect("a file")), nothing);
}

/// Snapshots that are taken, and one that cannot be written.
fn snapshots(given: &Given, used: &mut Used) {
    for image in [example("release", "handler-echo"), example("release", "hello")] {
        let mut command = given.snapshot(&image, &given.path("taken.snapshot"));
        watch(used, Duty::Snapshot, given.backend, &mut command, |_| {});
    }
}

/// Calls, many and at once, in clean instances and fresh ones, of images and of snapshots.
fn calls(given: &Given, used: &mut Used) {
    let file = given.path("run.snapshot");
    let image = example("release", "handler-echo");
    let large = given.path("large");
    // One that takes many pages, and then some that give them back.
    fs::write(&large, ["a".repeat(8 << 20), "a\n".repeat(100)].join("\n")).expect("a file");
    // Enough pages to be watched, in calls one after the other in one instance.
    let filling = given.path("filling");
    fs::write(&filling, "heap 1000000\n".repeat(4)).expect("a file");
    let obeys = guest("on_command");
    let [file, image, large, filling, obeys] =
        [&file, &image, &large, &filling, &obeys].map(|path| path.to_str().expect("a path"));
    for arguments in [
        &["invoke", "-n", "20", "--jobs", "3", image][..],
        &["invoke", "-n", "2", "--fresh-layout", image],
        &["invoke", "--each-line", "--input", large, file],
        &["invoke", "--each-line", "--input", filling, obeys],
        &["invoke", file],
    ] {
        watch(used, Duty::Pool, given.backend, &mut given.coracle(arguments), |_| {});
    }
}

/// A server, some requests, and its end.
fn serves(given: &Given, used: &mut Used) {
    let mut command = given.coracle(&["serve", "--listen", "127.0.0.1:0", "--fresh-layout", "10ms"]);
    command.arg(example("release", "handler-echo")).stderr(Stdio::piped());
    watch(used, Duty::Serve, given.backend, &mut command, |child| {
        let (process, error) = (child.id(), child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || talk(process, BufReader::new(error)));
    });
}

/// Talks to a server, and ends it.
fn talk(process: u32, mut log: impl BufRead + Send + 'static) {
    let mut line = String::new();
    while !line.contains("listening on http://") {
        line.clear();
        assert!(log.read_line(&mut line).expect("a log") > 0, "it does not listen");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let address = line.split("http://").nth(1).expect("an address").trim().to_owned();
    let body = "a".repeat(1 << 20);
    for (path, body) in [("/", ""), ("/", &*body), ("/-/metrics", "")] {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let length = body.len();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 "), "{reply}");
    }
    // SAFETY: the process is followed, and so its number is its own.
    unsafe { libc::kill(process as libc::pid_t, libc::SIGTERM) };
}

/// The list of what only kernels take that tell which pages of a process are written.
const WATCHING: &str = "watching the pages of a process";

#[test]
fn every_rule_is_used_or_says_why_it_rarely_is() {
    if !has_seccomp() {
        not_run("this kernel has no seccomp");
        return;
    }
    if crate::lane::beyond_emulators("each system call takes milliseconds when it is followed") {
        return;
    }
    let mut backends = vec![Backend::Process];
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => backends.push(Backend::Kvm),
        Err(error) => not_run(format_args!("the rules for KVM are not looked at: /dev/kvm: {error}")),
    }
    let unwatched = no_watching();
    alone("confine::rules::every_rule_is_used_or_says_why_it_rarely_is", || {
        let mut used = Used::new();
        for &backend in &backends {
            let given = Given { backend, scratch: Scratch::new() };
            runs(&given, &mut used);
            snapshots(&given, &mut used);
            calls(&given, &mut used);
            serves(&given, &mut used);
            fs::metadata(given.path("taken.snapshot")).expect("a snapshot");
        }
        let mut unused = Vec::new();
        for (place, list) in LISTS.iter().enumerate() {
            if list.backend != Backend::Auto && !backends.contains(&list.backend) {
                continue;
            }
            if unwatched && list.name == WATCHING {
                continue;
            }
            for (index, rule) in list.rules.iter().enumerate() {
                if rule.rarely.is_none() && !used.contains(&(place, index)) {
                    unused.push(format!("{}: {} {:?}: {}", list.name, rule.call, rule.arguments, rule.why));
                }
            }
        }
        assert!(unused.is_empty(), "rules that nothing uses:\n{}", unused.join("\n"));
    });
}
