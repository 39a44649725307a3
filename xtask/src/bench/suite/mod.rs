//! The experiments: what is measured, against what, with what goal.

mod calls;
mod cat;
mod compute;
mod footprint;
mod oneshot;
mod serve;
mod start;
mod steady;

use super::experiment::{Experiment, Goal};
use super::programs::Programs;
use crate::here::Backend;

/// How much more than another build's may be: what two builds of the same source differ by.
const AS_BEFORE: Goal = Goal::AtMost(1.05);

/// All experiments; with `quick`, of fewer turns and smaller.
pub(super) fn all(programs: &Programs, quick: bool) -> Vec<Experiment<'_>> {
    let has_kvm = programs.backends.contains(&Backend::Kvm);
    let mut all = vec![start::experiment(programs, quick), calls::experiment(programs, quick)];
    all.extend(compute::experiments(programs, quick));
    if has_kvm {
        all.push(steady::experiment(programs, quick));
    }
    all.push(cat::experiment(programs, quick));
    all.extend(footprint::experiments(programs));
    all.extend(oneshot::experiments(programs, quick));
    all.extend(serve::experiments(programs, quick));
    all
}
