//! What guests have in memory is in no core dump of the tender.

use crate::child::{Blocked, Running};
use crate::library::alone;
use crate::not_run::not_run;
use crate::scratch::Scratch;
use crate::serve::Server;
use crate::support::{example, host, no_kvm, run};
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, Instance};
use coracle_tender::snapshot::Snapshot;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A mapping of a process.
struct Mapping {
    start: u64,
    length: u64,
    name: String,
    /// Whether it is left out of core dumps.
    left_out: bool,
}

fn mappings(process: &str) -> Vec<Mapping> {
    let smaps = fs::read_to_string(format!("/proc/{process}/smaps")).expect("smaps");
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-')
            && let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            let name = words.nth(4).unwrap_or_default().to_owned();
            mappings.push(Mapping { start, length: end - start, name, left_out: false });
        } else if first == "VmFlags:"
            && let Some(mapping) = mappings.last_mut()
        {
            mapping.left_out = words.any(|flag| flag == "dd");
        }
    }
    mappings
}

/// Fails if memory of a guest that has so much is in dumps of a process: mappings that are as large as a part
/// of it may be, and those with its names.
fn assert_left_out(process: &str, of_guest: impl Fn(&Mapping) -> bool) {
    let all = mappings(process);
    let found: Vec<_> = all.iter().filter(|mapping| of_guest(mapping)).collect();
    assert!(!found.is_empty(), "{process} has no memory of a guest");
    for mapping in found {
        let Mapping { start, length, name, .. } = mapping;
        assert!(mapping.left_out, "{process}: {length:#x} bytes at {start:#x} {name}");
    }
}

/// Where the tender's own pages in a guest's process begin, which hold nothing of the guest's.
const FOOTHOLD: u64 = (1 << 47) - (5 << 12);

/// More than any mapping of the tender's own, of which glibc makes some of 64 MiB; guests here have 200 MiB.
const LARGE: u64 = 128 << 20;

#[test]
fn memory_of_a_guest_is_left_out_of_dumps() {
    if no_kvm() {
        return;
    }
    let mut command = run::<&str>(&["--mem", "200M"], example("release", "cat"), &[]);
    let running = Running::start(command.stdin(Stdio::piped()));
    running.wait_until(Blocked::Reading);
    let process = running.id().to_string();
    assert_left_out(&process, |mapping| mapping.length >= LARGE || mapping.name.contains("memfd:coracle"));
    let children = format!("/proc/{process}/task/{process}/children");
    for child in fs::read_to_string(children).expect("children").split_whitespace() {
        assert_left_out(child, |mapping| mapping.name.contains("memfd:coracle") && mapping.start < FOOTHOLD);
    }
}

#[test]
fn snapshots_and_their_instances_are_left_out_of_dumps() {
    if no_kvm() {
        return;
    }
    alone("confine::dumps::snapshots_and_their_instances_are_left_out_of_dumps", || {
        let host = Arc::new(host());
        let image = Arc::new(Image::open(&example("release", "handler-echo")).expect("an image"));
        let config = Config { memory: 200 << 20, ..Config::default() };
        let taken = Snapshot::take(&host, &image, &config, Duration::from_secs(60));
        let snapshot = Arc::new(taken.expect("a snapshot").0);
        let scratch = Scratch::new();
        let file = scratch.path().join("snapshot");
        snapshot.save(&file).expect("it is saved");
        let opened = Arc::new(Snapshot::open(&host, &file).expect("it is opened"));
        let instances = [&snapshot, &snapshot, &opened].map(Instance::resume);
        assert!(instances.iter().all(Result::is_ok));
        let is_of_guest =
            |mapping: &Mapping| mapping.length >= LARGE || mapping.name.contains("memfd:coracle");
        assert_left_out("self", is_of_guest);
    });
}

#[test]
fn memory_of_a_servers_instances_is_left_out_of_dumps() {
    if no_kvm() {
        return;
    }
    let server =
        Server::start(&["--mem".as_ref(), "200M".as_ref(), example("release", "handler-echo").as_os_str()]);
    // The server still makes instances, whose memory is mapped a moment before it is left out.
    let process = server.process().to_string();
    let begin = Instant::now();
    loop {
        let mut all = mappings(&process);
        all.retain(|mapping| mapping.length >= LARGE);
        assert!(!all.is_empty(), "{process} has no memory of a guest");
        if all.iter().all(|mapping| mapping.left_out) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "memory of an instance is never left out");
        std::thread::yield_now();
    }
}

/// Where a process has these bytes, if it has them.
fn find(process: u32, bytes: &[u8]) -> Option<u64> {
    let memory = File::open(format!("/proc/{process}/mem")).expect("its memory");
    let mut part = vec![0; 1 << 20];
    mappings(&process.to_string()).iter().find_map(|mapping| {
        (mapping.start..mapping.start + mapping.length).step_by(part.len() / 2).find(|at| {
            let length = part.len().min((mapping.start + mapping.length - at) as usize);
            let part = &mut part[..length];
            memory.read_exact_at(part, *at).is_ok() && part.windows(bytes.len()).any(|found| found == bytes)
        })
    })
}

#[test]
fn a_real_dump_has_nothing_of_the_guest() {
    if no_kvm() {
        return;
    }
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '/', '@']) {
        not_run("the kernel gives core dumps to a program, or puts them elsewhere (core_pattern)");
        return;
    }
    let scratch = Scratch::new();
    // Landlock would keep the kernel from writing one.
    let mut command = run::<&str>(&["--no-confine", "--mem", "32M"], example("release", "cat"), &[]);
    command.current_dir(scratch.path()).stdin(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: between fork and exec this only sets a limit.
    unsafe {
        command.pre_exec(|| {
            let none = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            match libc::setrlimit(libc::RLIMIT_CORE, &none) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut running = Running::start(&mut command);
    // The words are the guest's alone: the tender reads them straight into its memory.
    let secret: Vec<u8> = b"eht ni terces".iter().rev().copied().cycle().take(130).collect();
    let mut input = running.input();
    input.write_all(&secret).expect("it is taken");
    assert_eq!(running.bytes(secret.len()), secret);
    running.wait_until(Blocked::Reading);
    assert!(find(running.id(), &secret).is_some(), "the guest has forgotten what it has read");
    running.signal(libc::SIGABRT);
    drop(input);
    let status = running.ended();
    let mut names = fs::read_dir(scratch.path()).expect("a folder").flatten();
    let Some(core) = names.find(|entry| entry.file_name().to_string_lossy().contains("core")) else {
        not_run(format_args!("this machine writes no core dumps here ({status})"));
        return;
    };
    let core = fs::read(core.path()).expect("a dump");
    assert!(core.starts_with(b"\x7fELF") && core.len() > 10_000, "{} bytes", core.len());
    assert!(!core.windows(secret.len()).any(|found| found == secret), "the guest's words are in the dump");
}
