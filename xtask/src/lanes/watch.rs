//! Follows machines while they run tests.
//!
//! A test may hang a machine or bring it down: then that test has failed, and another machine goes on
//! with those that are left.

use super::debian::Kernel;
use super::initramfs::Initramfs;
use super::modules::Module;
use super::progress::Progress;
use super::{Boot, COUNTS, Lane};
use crate::paths;
use crate::results::Results;
use crate::shell::{Context, Failure, Result};
use crate::{stage, tender};
use lane_init::{Event, Outcome, Plan};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often events are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How many times as long as it may work in silence, a machine may be silent.
const IDLE: u32 = 5;

/// How long a machine that has told everything may take to switch itself off.
const LAST: Duration = Duration::from_secs(5);

/// The file system that all machines of a run boot with, but for the plan.
const FILES: &str = "files";

/// What all machines of a run have in common.
pub(super) struct Run {
    lane: Lane,
    /// The kernel's image.
    kernel: PathBuf,
    /// The modules, in the order in which they load.
    modules: Vec<lane_init::Module>,
    /// Where this lane's files lie.
    directory: PathBuf,
}

impl Run {
    /// Prepares machines with this kernel, these modules and their parameters, and these programs, which
    /// are not needed any more after this.
    pub(super) fn prepare(
        lane: Lane,
        kernel: &Kernel,
        modules: &[(Module, &str)],
        stage: &Path,
        directory: PathBuf,
    ) -> Result<Run> {
        paths::make_empty(&directory)?;
        let mut files = Initramfs::create(&directory.join(FILES))?;
        files.add_file("init", &tender::lane_init()?)?;
        files.add_directory("stage", stage)?;
        // Images that Linux starts as well name it.
        let interpreter = Path::new("/lib64/ld-linux-x86-64.so.2");
        if interpreter.exists() {
            files.add_file("lib64/ld-linux-x86-64.so.2", interpreter)?;
        }
        let mut loaded = Vec::new();
        for (module, parameters) in modules {
            let file = format!("lane/{}.ko", module.name);
            files.add(&file, 0o644, &module.contents)?;
            let (file, parameters) = (format!("/{file}"), (*parameters).to_owned());
            loaded.push(lane_init::Module { file, parameters });
        }
        files.finish()?;
        let image = directory.join("kernel");
        paths::copy(&kernel.image, &image)?;
        Ok(Run { lane, kernel: image, modules: loaded, directory })
    }

    /// Runs all these tests.
    pub(super) fn all(&self, tests: Vec<String>) -> Result<Results> {
        let mut results = Results::default();
        let mut progress = Progress::new(self.lane.name(), tests.len());
        let mut left = VecDeque::from(tests);
        let mut stops = 0;
        while !left.is_empty() {
            let Some(stopped) = self.one(&mut left, &mut results, &mut progress)? else { break };
            // It has not even begun with a test.
            if !stopped.test {
                progress.end();
                return Err(Failure::new(format!("{}: {}", self.lane.name(), stopped.reason)));
            }
            stops += 1;
            if stops == 20 {
                left.into_iter().for_each(|test| {
                    let outcome = Outcome::NotRun("the machine stopped too often before".to_owned());
                    results.add(test, outcome);
                });
                break;
            }
        }
        progress.end();
        Ok(results)
    }

    /// Boots a machine and follows it to its end. What it answers says why it stopped before its time.
    fn one(
        &self,
        left: &mut VecDeque<String>,
        results: &mut Results,
        progress: &mut Progress,
    ) -> Result<Option<Stopped>> {
        progress.say("booting");
        let mut machine = self.boot(left)?;
        let emulator = self.lane.emulator();
        let mut running: Option<String> = None;
        let mut heard = (Instant::now(), machine.used());
        let stopped = loop {
            // Asked before the events are read: none is lost.
            let ended = machine.child.try_wait().context(|| "waiting for the machine".to_owned())?;
            let events = machine.events()?;
            if !events.is_empty() {
                heard = (Instant::now(), machine.used());
            }
            for event in events {
                match event {
                    Event::Ready(description) => progress.ready(&description, machine.begin.elapsed()),
                    Event::Begin(test) => {
                        progress.begin(&test);
                        running = Some(test);
                    }
                    Event::Fewer(what) => {
                        results.fewer(format!("{}: {what}", running.as_deref().unwrap_or_default()));
                    }
                    Event::End(outcome) => {
                        if let Some(test) = running.take() {
                            left.pop_front();
                            progress.outcome(&test, &outcome);
                            results.add(test, outcome);
                        }
                    }
                    Event::Done(complaints) => {
                        complaints.iter().for_each(|line| progress.complaint(line));
                        machine.end(LAST);
                        return Ok(None);
                    }
                    Event::Broken(reason) => {
                        progress.end();
                        return Err(Failure::new(format!("{}: {reason}", self.lane.name())));
                    }
                }
            }
            if let Some(status) = ended {
                break format!("the machine ended by itself ({status})");
            }
            let (silent, used) = (heard.0.elapsed(), machine.used().saturating_sub(heard.1));
            if used > emulator.patience() || silent > emulator.patience() * IDLE {
                let [used, silent] = [used, silent].map(|time| time.as_secs());
                break format!(
                    "the machine has hung: it told nothing for {silent} s, {used} s of them at work"
                );
            }
            std::thread::sleep(LOOK);
        };
        machine.end(Duration::ZERO);
        let reason = format!("{stopped}\n{}", last_lines(&self.directory.join("console")));
        let test = running.is_some();
        if let Some(test) = running {
            left.pop_front();
            let outcome = Outcome::Failed(reason.clone());
            progress.outcome(&test, &outcome);
            results.add(test, outcome);
        }
        Ok(Some(Stopped { reason, test }))
    }

    /// Starts a machine that is to run these tests.
    fn boot(&self, tests: &VecDeque<String>) -> Result<Machine> {
        let emulator = self.lane.emulator();
        let directory = self.directory.as_path();
        let initrd = directory.join("initrd");
        paths::copy(&directory.join(FILES), &initrd)?;
        let mut files = Initramfs::append(&initrd)?;
        let plan = Plan {
            lane: self.lane.name().to_owned(),
            modules: self.modules.clone(),
            stage: "/stage".to_owned(),
            program: format!("/stage/tests/{}", stage::VM),
            tests: tests.iter().cloned().collect(),
            variables: COUNTS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            limit: emulator.limit().as_secs(),
        };
        let plan = serde_json::to_vec(&plan).context(|| "the plan".to_owned())?;
        files.add(lane_init::PLAN.trim_start_matches('/'), 0o644, &plan)?;
        files.finish()?;

        let size = initrd.metadata().context(|| initrd.display().to_string())?.len();
        let memory = emulator.memory(size);
        for file in ["events", "console"] {
            paths::write(&directory.join(file), "")?;
        }
        let events = directory.join("events");
        let events = File::open(&events).context(|| events.display().to_string())?;
        let child = emulator.start(&Boot { directory, kernel: &self.kernel, memory })?;
        Ok(Machine { child, events, rest: Vec::new(), begin: Instant::now() })
    }
}

/// Why a machine stopped before its time.
struct Stopped {
    reason: String,
    /// Whether it ran a test.
    test: bool,
}

/// A machine that runs. It ends when this is dropped.
struct Machine {
    child: Child,
    events: File,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    begin: Instant,
}

impl Machine {
    /// What it has told since this was asked last.
    fn events(&mut self) -> Result<Vec<Event>> {
        self.events.read_to_end(&mut self.rest).context(|| "reading the machine's events".to_owned())?;
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return Ok(Vec::new()) };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        // What is no event was written by somebody else: the firmware, for one.
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// How much time of this machine's CPU it has used.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Behind the name, which may hold anything: user and system time are the 12th and 13th.
        let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let ticks: u64 = numbers.take(2).filter_map(|number| number.parse::<u64>().ok()).sum();
        // SAFETY: the call takes no pointer.
        let in_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Duration::from_millis(ticks * 1000 / u64::try_from(in_a_second).unwrap_or(100).max(1))
    }

    /// Ends it, if it does not end by itself in this time.
    fn end(&mut self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        // It may have ended meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Starts an emulator that ends when this program does. What it writes goes to `output`.
pub(super) fn spawn(command: &mut Command, output: OwnedFd) -> Result<Child> {
    // SAFETY: between fork and exec this only sets what happens when the parent ends.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let errors = output.try_clone().context(|| name.clone())?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().context(|| name)
}

/// The last lines of the kernel's console.
fn last_lines(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
    match last {
        [] => "its kernel said nothing".to_owned(),
        _ => format!("its kernel's last lines:\n{}", last.join("\n")),
    }
}
