//! A bound on the time that a report takes.

use std::time::{Duration, Instant};

/// How many small steps pass between two looks at the clock.
const STEPS: u64 = 4096;

/// Time that runs out. Work that hostile input can make long is counted here in steps of well below
/// a microsecond each.
#[derive(Debug)]
pub(super) struct Budget {
    deadline: Instant,
    steps: u64,
    exhausted: bool,
}

/// The time is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    pub(super) fn new(time: Duration) -> Budget {
        let now = Instant::now();
        // A deadline beyond what the clock can say is no deadline; nobody asks for one.
        Budget { deadline: now.checked_add(time).unwrap_or(now), steps: 0, exhausted: false }
    }

    /// Accounts for `steps` of work.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Exhausted> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps >= STEPS {
            self.steps = 0;
            self.exhausted |= Instant::now() >= self.deadline;
        }
        if self.exhausted { Err(Exhausted) } else { Ok(()) }
    }

    /// Accounts for work that may take a millisecond or more by itself: looks at the clock.
    pub(super) fn spend_much(&mut self) -> Result<(), Exhausted> {
        self.spend(STEPS)
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Exhausted, STEPS};
    use std::time::Duration;

    #[test]
    fn a_budget_ends_work_that_never_ends() {
        let mut budget = Budget::new(Duration::from_millis(1));
        while budget.spend(1).is_ok() {}
        assert!(budget.is_exhausted());
        assert_eq!(budget.spend(0), Err(Exhausted));
    }

    #[test]
    fn a_budget_looks_at_the_clock_for_one_large_step_too() {
        assert_eq!(Budget::new(Duration::ZERO).spend(STEPS), Err(Exhausted));
        assert_eq!(Budget::new(Duration::ZERO).spend_much(), Err(Exhausted));
    }
}
