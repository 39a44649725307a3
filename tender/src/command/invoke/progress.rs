//! The bar that shows how many calls were made, where there are many and somebody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// What takes less has no bar.
const SOON: Duration = Duration::from_secs(1);

/// A bar, once there is reason for one.
pub(super) struct Progress {
    count: u64,
    done: u64,
    start: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For so many calls, where it is wanted at all.
    pub(super) fn of(count: u64, wanted: bool) -> Progress {
        let wanted = wanted && count > 1 && stderr().is_terminal();
        Progress { count, done: 0, start: Instant::now(), wanted, bar: None }
    }

    /// One more is done, and shown: `quiet` says that this writes to no terminal.
    pub(super) fn step<T>(&mut self, quiet: bool, show: impl FnOnce() -> T) -> T {
        self.done += 1;
        if self.wanted && self.bar.is_none() && self.start.elapsed() >= SOON {
            let bar = ProgressBar::with_draw_target(Some(self.count), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {eta} left");
            // The template is sound; without it there is another bar.
            self.bar = Some(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                if quiet { show() } else { bar.suspend(show) }
            }
            None => show(),
        }
    }

    /// All is done.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
