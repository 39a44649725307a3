//! Shows how far a lane is: a line that changes, on a terminal; otherwise a line for each test.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lane_init::Outcome;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

pub(super) struct Progress {
    lane: &'static str,
    count: usize,
    done: usize,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(lane: &'static str, count: usize) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix}  {bar:24} {pos}/{len}  {elapsed}  {wide_msg}");
            let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
            bar.enable_steady_tick(Duration::from_secs(1));
            bar.with_prefix(lane)
        });
        Progress { lane, count, done: 0, begin: Instant::now(), bar }
    }

    /// What is being done.
    pub(super) fn say(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("{}: {what}", self.lane),
        }
    }

    /// The machine is up.
    pub(super) fn ready(&mut self, description: &str, after: Duration) {
        self.line(&format!("{}: {description}, up after {:.0} s", self.lane, after.as_secs_f64()));
    }

    /// The machine's kernel has complained.
    pub(super) fn complaint(&mut self, line: &str) {
        self.line(&format!("{}: its kernel complained: {line}", self.lane));
    }

    /// A test begins.
    pub(super) fn begin(&mut self, test: &str) {
        self.begin = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_message(test.to_owned());
        }
    }

    /// A test has ended.
    pub(super) fn outcome(&mut self, test: &str, outcome: &Outcome) {
        self.done += 1;
        let (word, more) = match outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(output) => ("FAILED", format!("\n{}", indented(output))),
            Outcome::NotRun(reason) => ("not run", format!(": {reason}")),
        };
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
        }
        if self.bar.is_none() || *outcome != Outcome::Passed {
            let width = self.count.to_string().len();
            let (lane, done, count) = (self.lane, self.done, self.count);
            let seconds = self.begin.elapsed().as_secs_f64();
            self.line(&format!("{lane}  {done:width$}/{count}  {seconds:5.1} s  {word:7}  {test}{more}"));
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
