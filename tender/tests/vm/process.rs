//! The process that runs a guest: what it holds, and that nothing of it is left.

use crate::child::Running;
use crate::support::{example, guest, process_host, run};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `coracle run` of a guest in a process.
pub(crate) fn tender(image: PathBuf) -> Command {
    let mut command = run::<&str>(&["--backend", "process"], image, &[]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// The children of a process's first thread.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().expect("a number")).collect()
}

/// The child of a tender, once it has one.
pub(crate) fn child_of(tender: u32) -> u32 {
    let begin = Instant::now();
    loop {
        if let [child] = children(tender)[..] {
            return child;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the tender has no child");
        std::thread::yield_now();
    }
}

fn is_there(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|status| !status.contains(") Z ") && !status.contains(") X "))
}

/// A number that is different each time.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[test]
fn the_guests_process_holds_nothing_but_the_guests_memory() {
    let mut command = tender(example("release", "cat"));
    command.stdin(Stdio::piped());
    let running = Running::start(&mut command);
    running.wait_until(crate::child::Blocked::Reading);
    let child = child_of(running.id());
    let of = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).expect("it can be read");
    assert_eq!(fs::read_dir(format!("/proc/{child}/fd")).expect("a directory").count(), 0);
    assert_eq!(of("environ"), "");
    assert_eq!(of("cmdline"), "");
    for line in of("maps").lines() {
        let rights = line.split_whitespace().nth(1).expect("rights");
        assert!(line.contains("coracle-guest") || line.contains("[vsyscall]"), "{line}");
        assert!(!rights.starts_with("rwx") && !rights.starts_with("-wx"), "{line}");
    }
    let status = of("status");
    for line in
        ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1", &format!("TracerPid:\t{}", running.id())]
    {
        assert!(status.contains(line), "{line}: {status}");
    }
}

#[test]
fn a_tender_that_is_killed_leaves_no_process() {
    let rounds = std::env::var("CORACLE_KILLS").map_or(25, |count| count.parse().expect("a number"));
    for _ in 0..rounds {
        let mut tender =
            tender(guest("forever")).arg("compute").stdout(Stdio::null()).spawn().expect("coracle starts");
        std::thread::sleep(Duration::from_micros(random() % 6_000));
        let children = children(tender.id());
        tender.kill().expect("it can be killed");
        tender.wait().expect("it can be waited for");
        let begin = Instant::now();
        while children.iter().any(|child| is_there(*child)) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{children:?} are left");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_guest_whose_process_is_killed_ends_with_words() {
    let mut command = tender(guest("forever"));
    command.arg("compute").stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut said = running.error();
    assert_eq!(running.line(), "ready");
    let child = child_of(running.id());
    // SAFETY: the number is that of a child of a process of this test.
    assert_eq!(unsafe { libc::kill(child as i32, libc::SIGKILL) }, 0);
    assert_eq!(running.ended().code(), Some(125));
    let mut words = String::new();
    said.read_to_string(&mut words).expect("words");
    assert!(words.contains("killed"), "{words}");
}

#[test]
fn signals_that_others_send_to_the_guests_process_mean_nothing() {
    let mut command = tender(example("release", "cat"));
    command.stdin(Stdio::piped());
    let mut running = Running::start(&mut command);
    running.wait_until(crate::child::Blocked::Reading);
    let child = child_of(running.id());
    for signal in [
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGTRAP,
        libc::SIGILL,
        libc::SIGSTOP,
        libc::SIGCONT,
        libc::SIGUSR1,
    ] {
        // SAFETY: the number is that of a child of a process of this test.
        assert_eq!(unsafe { libc::kill(child as i32, signal) }, 0);
    }
    drop(running.input());
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn many_starts_in_a_row_leave_nothing() {
    let host = process_host();
    let image = Arc::new(Image::open(&guest("exit_with")).expect("the guest is an image"));
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let start = || {
        let arguments = ["exit_with", "7"].map(OsString::from).to_vec();
        let config = Config { arguments, memory: 16 << 20, ..Config::default() };
        let mut instance = Instance::boot(&host, &image, &config).expect("the guest boots");
        let end = instance.run(&Console::new(null.as_fd(), null.as_fd(), null.as_fd()), &mut |_| (), None);
        assert!(matches!(end, End::Exited(7)), "{end:?}");
    };
    start();
    let own = || {
        // SAFETY: the call has no preconditions.
        let thread = unsafe { libc::gettid() };
        fs::read_to_string(format!("/proc/self/task/{thread}/children")).expect("children")
    };
    let rounds = std::env::var("CORACLE_STARTS").map_or(100, |count| count.parse().expect("a number"));
    (0..rounds).for_each(|_| start());
    assert_eq!(own(), "", "children are left");
    let names = fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let left = names.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|name| name.to_string_lossy().contains("coracle-guest"))
    });
    // Tests beside this one have guests too.
    assert!(left.count() < 20, "memory files are left");
}
