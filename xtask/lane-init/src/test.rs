//! One test in a process of its own.

use lane_init::{Outcome, Plan};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the test writes.
const OUTPUT: &str = "/run/output";
/// What the test says if it does not run.
const NOT_RUN: &str = "/run/not-run";
/// What the test says if it tries less than elsewhere.
const FEWER: &str = "/run/fewer";

/// How much is kept of what a test that failed wrote, in bytes: serial lines are slow.
const KEPT: u64 = 6000;

/// Runs the test of this name. The lines beside its outcome are what it tries less of.
pub(crate) fn run(plan: &Plan, name: &str) -> (Outcome, Vec<String>) {
    for file in [NOT_RUN, FEWER] {
        if let Err(reason) = fs::write(file, "") {
            return (Outcome::Failed(format!("{file}: {reason}")), Vec::new());
        }
    }
    let outcome = match start(plan, name).and_then(|child| wait(child, Duration::from_secs(plan.limit))) {
        Ok(Some(status)) if status.success() => not_run().map_or(Outcome::Passed, Outcome::NotRun),
        Ok(Some(status)) => Outcome::Failed(format!("{}\n{status}", output())),
        Ok(None) => Outcome::Failed(format!("{}\nnot done after {} s", output(), plan.limit)),
        Err(reason) => Outcome::Failed(format!("{}: {reason}", plan.program)),
    };
    end_all();
    let fewer = fs::read_to_string(FEWER).unwrap_or_default();
    (outcome, fewer.lines().map(str::to_owned).collect())
}

fn start(plan: &Plan, name: &str) -> io::Result<Child> {
    let output = File::create(OUTPUT)?;
    let mut command = Command::new(&plan.program);
    command
        .args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"])
        .current_dir(&plan.stage)
        .env_clear()
        .envs([("PATH", "/bin"), ("HOME", "/tmp"), ("RUST_BACKTRACE", "0")])
        .envs([("CORACLE_TEST_DIR", plan.stage.as_str()), ("CORACLE_TEST_LANE", &plan.lane)])
        .envs([("CORACLE_NOT_RUN_LOG", NOT_RUN), ("CORACLE_FEWER_LOG", FEWER)])
        .envs(plan.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    command.spawn()
}

/// Waits for a process's end, but not longer than this.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Ends whatever a test has left, so that it does not disturb the next.
fn end_all() {
    // SAFETY: neither call takes a pointer that is used; as the first process, this spares itself.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
        while libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) > 0 {}
    }
}

/// The reason for which the test did not run, if it did not: after its name and a tab.
fn not_run() -> Option<String> {
    let log = fs::read_to_string(NOT_RUN).ok()?;
    let (_, reason) = log.lines().next()?.split_once('\t')?;
    Some(reason.to_owned())
}

/// The end of what the test wrote.
fn output() -> String {
    let mut bytes = Vec::new();
    let read = File::open(OUTPUT).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(KEPT)))?;
        file.read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(reason) => format!("{OUTPUT}: {reason}"),
    }
}
