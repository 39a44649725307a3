//! Sampling subjects in turn and comparing them.

use super::number::{Unit, digits};
use super::statistics::Spread;
use crate::here::Backend;
use crate::shell::Result;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Something that can be measured again and again.
struct Subject<'a> {
    name: &'static str,
    unit: Unit,
    sample: Box<dyn FnMut() -> Result<f64> + 'a>,
}

/// A subject, by its place in its experiment.
#[derive(Clone, Copy)]
pub(super) struct Id(usize);

/// What of two subjects is held against the goal.
#[derive(Clone, Copy)]
pub(super) enum Measure {
    /// A subject's own value.
    Value,
    /// The same, shown beside a yardstick's.
    ValueBeside(Id),
    /// How many times a yardstick's value it is.
    RatioTo(Id),
    /// How much it is above a yardstick's value.
    Above(Id),
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing: the row only informs.
    None,
}

/// A comparison to be made.
struct Comparison {
    what: &'static str,
    backend: Backend,
    subject: Id,
    measure: Measure,
    goal: Goal,
}

/// Subjects that are sampled in turn, and what is asked about them.
pub(super) struct Experiment<'a> {
    name: &'static str,
    turns: usize,
    subjects: Vec<Subject<'a>>,
    comparisons: Vec<Comparison>,
}

/// What came out of a comparison.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) experiment: &'static str,
    pub(super) what: &'static str,
    /// What runs the guests.
    pub(super) backend: Backend,
    pub(super) subject: Figure,
    pub(super) yardstick: Option<Figure>,
    /// What is held against the goal.
    pub(super) result: Spread,
    pub(super) result_is: Kind,
    pub(super) goal: Goal,
    pub(super) samples: usize,
}

/// A subject's own values.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) value: Spread,
}

/// What a row's result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Value,
    Ratio,
    Difference,
}

impl<'a> Experiment<'a> {
    /// An experiment of `turns` samples of each subject.
    pub(super) fn new(name: &'static str, turns: usize) -> Experiment<'a> {
        Experiment { name, turns, subjects: Vec::new(), comparisons: Vec::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// What its rows are of.
    #[cfg(test)]
    pub(super) fn rows(&self) -> impl Iterator<Item = &'static str> {
        self.comparisons.iter().map(|comparison| comparison.what)
    }

    /// Adds a subject.
    pub(super) fn subject(
        &mut self,
        name: &'static str,
        unit: Unit,
        sample: impl FnMut() -> Result<f64> + 'a,
    ) -> Id {
        self.subjects.push(Subject { name, unit, sample: Box::new(sample) });
        Id(self.subjects.len() - 1)
    }

    /// Adds a row to the report, of guests that this backend runs.
    pub(super) fn row(
        &mut self,
        backend: Backend,
        what: &'static str,
        subject: Id,
        measure: Measure,
        goal: Goal,
    ) {
        self.comparisons.push(Comparison { what, backend, subject, measure, goal });
    }

    /// Takes one sample of each subject to warm up and forgets it, then the rest.
    pub(super) fn run(mut self) -> Result<Vec<Row>> {
        let mut samples = vec![Vec::with_capacity(self.turns); self.subjects.len()];
        let progress = Progress::new(self.name, self.turns);
        for turn in 0..=self.turns {
            progress.show(turn);
            for (subject, samples) in self.subjects.iter_mut().zip(&mut samples) {
                let sample = (subject.sample)()?;
                if turn > 0 {
                    samples.push(sample);
                }
            }
        }
        progress.end();
        Ok(self.comparisons.iter().map(|comparison| self.compare(comparison, &samples)).collect())
    }

    fn compare(&self, comparison: &Comparison, samples: &[Vec<f64>]) -> Row {
        let figure = |id: Id| {
            let Subject { name, unit, .. } = self.subjects[id.0];
            Figure { name, unit, value: Spread::of(&samples[id.0]) }
        };
        let pairs = |yardstick: Id, combine: fn(f64, f64) -> f64| {
            let ours = &samples[comparison.subject.0];
            let pairs = ours.iter().zip(&samples[yardstick.0]);
            Spread::of(&pairs.map(|(&ours, &theirs)| combine(ours, theirs)).collect::<Vec<_>>())
        };
        let (result_is, yardstick, result) = match comparison.measure {
            Measure::Value => (Kind::Value, None, figure(comparison.subject).value),
            Measure::ValueBeside(id) => (Kind::Value, Some(id), figure(comparison.subject).value),
            Measure::RatioTo(id) => (Kind::Ratio, Some(id), pairs(id, |ours, theirs| ours / theirs)),
            Measure::Above(id) => (Kind::Difference, Some(id), pairs(id, |ours, theirs| ours - theirs)),
        };
        Row {
            experiment: self.name,
            what: comparison.what,
            backend: comparison.backend,
            subject: figure(comparison.subject),
            yardstick: yardstick.map(figure),
            result,
            result_is,
            goal: comparison.goal,
            samples: self.turns,
        }
    }
}

impl Row {
    /// Whether the goal is reached, by the median; nothing where there is none.
    pub(super) fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtMost(limit) => Some(self.result.median <= limit),
            Goal::AtLeast(limit) => Some(self.result.median >= limit),
            Goal::None => None,
        }
    }

    /// One of the row's results, or its goal, as people read it.
    pub(super) fn show(&self, value: f64) -> String {
        match self.result_is {
            Kind::Ratio => format!("{}×", digits(value)),
            Kind::Value | Kind::Difference => self.subject.unit.show(value),
        }
    }

    /// The goal as people read it.
    pub(super) fn show_goal(&self) -> String {
        match self.goal {
            Goal::AtMost(limit) => format!("≤ {}", self.show(limit)),
            Goal::AtLeast(limit) => format!("≥ {}", self.show(limit)),
            Goal::None => "–".to_owned(),
        }
    }
}

/// A line that says how far an experiment is; without a terminal, only that it began.
struct Progress {
    name: &'static str,
    turns: usize,
    terminal: bool,
}

impl Progress {
    fn new(name: &'static str, turns: usize) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("measuring {name}");
        }
        Progress { name, turns, terminal }
    }

    fn show(&self, turn: usize) {
        if self.terminal {
            eprint!("\r\x1b[Kmeasuring {}: turn {turn} of {}", self.name, self.turns);
            // A progress line that cannot be written is not worth a word.
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_sampled_in_turn_and_compared_within_a_turn() {
        let order = std::cell::RefCell::new(String::new());
        let mut experiment = Experiment::new("test", 3);
        let mut value = 0.0;
        let ours = experiment.subject("ours", Unit::Nanoseconds, || {
            order.borrow_mut().push('a');
            value += 1.0;
            Ok(2.0 * value)
        });
        let mut value = 0.0;
        let theirs = experiment.subject("theirs", Unit::Nanoseconds, || {
            order.borrow_mut().push('b');
            value += 1.0;
            Ok(value)
        });
        let kvm = Backend::Kvm;
        experiment.row(kvm, "twice", ours, Measure::RatioTo(theirs), Goal::AtMost(2.0));
        experiment.row(kvm, "too much", ours, Measure::Above(theirs), Goal::AtMost(2.5));
        experiment.row(kvm, "as it is", ours, Measure::ValueBeside(theirs), Goal::None);
        let rows = experiment.run().expect("nothing here fails");
        assert_eq!(*order.borrow(), "abababab");
        assert_eq!(rows[0].result, Spread { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!((rows[0].met(), rows[1].met(), rows[2].met()), (Some(true), Some(false), None));
        assert_eq!(rows[2].result, rows[2].subject.value);
        assert_eq!(rows[2].yardstick.as_ref().map(|figure| figure.value.median), Some(3.0));
        assert_eq!((rows[0].show_goal(), rows[1].show_goal()), ("≤ 2.00×".into(), "≤ 2.50 ns".into()));
    }
}
