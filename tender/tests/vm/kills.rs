//! A command that is killed at a random moment leaves nothing: no process, no file, no memory of a guest.
//!
//! These tests have a process to themselves, which adopts what its children leave behind: so it sees all of that.

use crate::holdings::is_watching;
use crate::lane::times;
use crate::library::alone;
use crate::scratch::Scratch;
use crate::support::{coracle, guest, is_process, no_kvm, no_watching, output, run, stderr};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

/// More than anything takes that is to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each command is killed.
fn rounds() -> u32 {
    std::env::var("CORACLE_KILLS").map_or_else(|_| times(25, 3), |count| count.parse().expect("a number"))
}

/// A number below another that is different each time.
fn random(below: u128) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (u128::from(number) % below.max(1)) as u64
}

/// Has everything whose parent ends become a child of this process.
fn adopt_orphans() {
    // SAFETY: the call takes numbers alone.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
}

/// Waits until this process has no children, and answers how many were left to it.
fn bury_orphans() -> usize {
    let begin = Instant::now();
    let mut count = 0;
    loop {
        let mut status = 0;
        // SAFETY: the status is a local. No thread of this process has children of its own to wait for.
        match unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::WNOHANG) } {
            -1 => return count,
            0 => {
                assert!(begin.elapsed() < PATIENCE, "left after {count} others: {:?}", left(|_| true));
                std::thread::yield_now();
            }
            _ => count += 1,
        }
    }
}

/// The processes that are of this session, or whose parent is this process, with the guests' memory that they have.
fn left(of_session: impl Fn(u32) -> bool) -> Vec<(u32, Vec<String>)> {
    let of = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // Behind the name: state, parent, group, session.
        let mut fields = status.rsplit(')').next()?.split_whitespace().skip(1);
        let parent: u32 = fields.next()?.parse().ok()?;
        let session: u32 = fields.nth(1)?.parse().ok()?;
        let of_ours = parent == std::process::id();
        (of_ours || of_session(session)).then(|| (process, memory_of(process)))
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter_map(|entry| of(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The memory of guests that a process has open, and that it maps.
fn memory_of(process: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let open = open.filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok());
    let mapped = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    open.chain(mapped.lines().map(str::to_owned)).filter(|name| name.contains("memfd:coracle")).collect()
}

/// A command that is killed again and again.
struct Killed<'c> {
    /// Makes it, in a folder for all files that it may think of.
    command: &'c dyn Fn(&Path) -> Command,
    /// Uses it until it is gone, and says so as soon as it is in the midst of its work.
    using: fn(Pipes, &Sender<()>),
    /// Looks at it right before it is killed.
    before: &'c mut dyn FnMut(u32),
    /// Looks at a file that it has left.
    file: &'c dyn Fn(&Path),
}

/// There is to be no such file.
fn none(file: &Path) {
    panic!("{} is left", file.display());
}

/// What a command has for its user.
struct Pipes {
    output: Option<ChildStdout>,
    error: Option<ChildStderr>,
}

impl Killed<'_> {
    /// Answers how many processes were left to be buried by the first, which was in the midst of its work.
    fn again_and_again(&mut self) -> usize {
        adopt_orphans();
        let begin = Instant::now();
        let orphans = self.once(None);
        // The others are killed at any time up to twice as late.
        let usual = begin.elapsed();
        (1..rounds()).for_each(|_| {
            self.once(Some(Duration::from_micros(random(2 * usual.as_micros()))));
        });
        orphans
    }

    fn once(&mut self, after: Option<Duration>) -> usize {
        let scratch = Scratch::new();
        let mut command = (self.command)(scratch.path());
        command.current_dir(scratch.path()).env("TMPDIR", scratch.path()).env("HOME", scratch.path());
        command.stdin(Stdio::null());
        // SAFETY: between fork and exec this only makes a session.
        unsafe {
            command.pre_exec(|| match libc::setsid() {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let mut child = command.spawn().expect("coracle starts");
        let id = child.id();
        let (busy, is_busy) = mpsc::channel();
        let (using, pipes) = (self.using, Pipes { output: child.stdout.take(), error: child.stderr.take() });
        let user = std::thread::spawn(move || using(pipes, &busy));
        match after {
            None => is_busy.recv_timeout(PATIENCE).expect("it is busy some time"),
            Some(after) => std::thread::sleep(after),
        }
        (self.before)(id);
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
        let orphans = bury_orphans();
        user.join().expect("its user notices");
        assert_eq!(left(|session| session == id), []);
        assert_eq!(memory_of(std::process::id()), [] as [String; 0]);
        let files = fs::read_dir(scratch.path()).expect("a folder").flatten();
        files.for_each(|file| (self.file)(&file.path()));
        orphans
    }
}

/// Reads what a command puts out: with the first line it is busy.
fn reading(pipes: Pipes, busy: &Sender<()>) {
    let output = pipes.output.map(|pipe| Box::new(pipe) as Box<dyn Read>);
    let mut output = BufReader::new(output.unwrap_or_else(|| Box::new(pipes.error.expect("a pipe"))));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // Nobody listens after the first.
        let _ = busy.send(());
        line.clear();
    }
}

/// Sends a server requests until nobody answers: with the first answer it is busy.
fn requesting(pipes: Pipes, busy: &Sender<()>) {
    let error = BufReader::new(pipes.error.expect("a pipe"));
    let mut address = None;
    for line in error.lines().map_while(Result::ok) {
        if let Some((_, found)) = line.split_once("http://") {
            address = Some(found.to_owned());
            break;
        }
    }
    let Some(address) = address else { return };
    let input = "heap 1000000";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{input}",
        input.len()
    );
    loop {
        let mut answer = Vec::new();
        let answered = TcpStream::connect(&address).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer)
        });
        match answered {
            Ok(_) if answer.starts_with(b"HTTP/1.1 200") => drop(busy.send(())),
            _ => return,
        }
    }
}

#[test]
fn a_run_that_is_killed_leaves_nothing() {
    if no_kvm() {
        return;
    }
    alone("kills::a_run_that_is_killed_leaves_nothing", || {
        let command = |_: &Path| {
            let mut command = run(&[], guest("forever"), &["compute"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let orphans =
            Killed { command: &command, using: reading, before: &mut |_| {}, file: &none }.again_and_again();
        assert_eq!(orphans, usize::from(is_process()));
    });
}

#[test]
fn an_invoke_that_is_killed_leaves_nothing() {
    if no_kvm() {
        return;
    }
    alone("kills::an_invoke_that_is_killed_leaves_nothing", || {
        let lines = Scratch::new();
        let input = lines.path().join("lines");
        let line = format!("heap {}\n", times(1_000_000, 10_000));
        fs::write(&input, line.repeat(8)).expect("a file");
        let command = |_: &Path| {
            let mut command = Command::new(coracle());
            command.args(["invoke", "--each-line", "--jobs", "4", "-n", "100000", "--input"]);
            command.arg(&input).arg(guest("on_command")).stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let orphans =
            Killed { command: &command, using: reading, before: &mut |_| {}, file: &none }.again_and_again();
        assert!(orphans >= usize::from(is_process()), "{orphans}");
    });
}

#[test]
fn a_server_that_is_killed_leaves_nothing() {
    if no_kvm() {
        return;
    }
    alone("kills::a_server_that_is_killed_leaves_nothing", || {
        let command = |_: &Path| {
            let mut command = Command::new(coracle());
            command.args(["serve", "--listen", "127.0.0.1:0"]).arg(guest("on_command"));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command
        };
        let mut watching = 0;
        let mut before = |server| watching += watched_by(server);
        let orphans = Killed { command: &command, using: requesting, before: &mut before, file: &none }
            .again_and_again();
        assert!(orphans >= usize::from(is_process()), "{orphans}");
        assert!(!is_process() || watching > 0 || no_watching(), "no instance was ever watched");
    });
}

/// How many descriptors of a process tell which pages of others are written.
fn watched_by(process: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    open.filter(is_watching).count()
}

#[test]
fn a_snapshot_that_is_killed_leaves_nothing_but_what_is_whole() {
    if no_kvm() {
        return;
    }
    alone("kills::a_snapshot_that_is_killed_leaves_nothing_but_what_is_whole", || {
        let command = |folder: &Path| {
            let mut command = Command::new(coracle());
            command.arg("snapshot").arg(guest("traces")).arg("-o").arg(folder.join("traces"));
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            command
        };
        let whole = |file: &Path| {
            assert_eq!(file.file_name(), Some("traces".as_ref()));
            let mut verify = Command::new(coracle());
            verify.args(["snapshot", "verify"]).arg(file);
            let verified = output(verify);
            assert!(verified.status.success(), "{}", stderr(&verified));
        };
        Killed { command: &command, using: reading, before: &mut |_| {}, file: &whole }.again_and_again();
    });
}
