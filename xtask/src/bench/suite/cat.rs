//! How fast bytes pass through a guest.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::{bytes_per_second, command};
use crate::bench::programs::Programs;
use crate::here::Backend;
use std::path::Path;

pub(super) fn experiment(programs: &Programs, quick: bool) -> Experiment<'_> {
    let (turns, total) = if quick { (3, 10_000_000) } else { (15, 100_000_000) };
    let mut cat = Experiment::new("cat", turns);

    let process = cat.subject("cat", Unit::BytesPerSecond, move || {
        bytes_per_second(command(Path::new("cat"), &[]), total)
    });
    for &backend in &programs.backends {
        let guest = cat.subject("guest", Unit::BytesPerSecond, move || {
            bytes_per_second(programs.boot(backend, &[], &programs.cat, &[]), total)
        });
        let goal = match backend {
            Backend::Kvm => Goal::AtLeast(0.7),
            Backend::Process => Goal::None,
        };
        cat.row(backend, "100 MB through cat", guest, Measure::RatioTo(process), goal);
    }
    cat
}
