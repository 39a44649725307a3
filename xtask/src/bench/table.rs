//! The results as a table.

use super::experiment::Row;
use crate::here::{BACKENDS, Backend};

/// The columns of a backend.
const OF_BACKEND: usize = 3;
/// The columns before those.
const OF_BOTH: usize = 3;
const COLUMNS: usize = OF_BOTH + OF_BACKEND * BACKENDS.len();

/// One line for each row, in columns; what was measured with both backends stands in one.
pub(super) fn render(rows: &[Row]) -> String {
    let mut lines = vec![head()];
    lines.extend(lines_of(rows).iter().map(|rows| cells(rows)));
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);

    let mut table = String::new();
    for cells in &lines {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            let right = column == 1 || column >= OF_BOTH && (column - OF_BOTH).is_multiple_of(OF_BACKEND);
            if right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        table += padded.collect::<Vec<_>>().join("  ").trim_end();
        table.push('\n');
    }
    table
}

/// The same for a document.
pub(super) fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let lines: String = lines_of(rows).iter().map(|rows| line(&cells(rows))).collect();
    line(&head()) + &line(&[const { String::new() }; COLUMNS].map(|_| "---".to_owned())) + &lines
}

fn head() -> [String; COLUMNS] {
    let mut head = [const { String::new() }; COLUMNS];
    head[0] = "what".to_owned();
    head[1] = "yardstick".to_owned();
    for (backend, columns) in BACKENDS.iter().zip(head[OF_BOTH..].chunks_exact_mut(OF_BACKEND)) {
        columns[0] = backend.name().to_owned();
        columns[2] = "goal".to_owned();
    }
    head
}

/// Rows that say the same of different backends, together.
fn lines_of(rows: &[Row]) -> Vec<Vec<&Row>> {
    let yardstick = |row: &Row| row.yardstick.as_ref().map(|figure| figure.name);
    let mut lines: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same = |line: &&mut Vec<&Row>| {
            line.iter().all(|other| {
                other.what == row.what && yardstick(other) == yardstick(row) && other.backend != row.backend
            })
        };
        match lines.iter_mut().find(same) {
            Some(line) => line.push(row),
            None => lines.push(vec![row]),
        }
    }
    lines
}

fn cells(rows: &[&Row]) -> [String; COLUMNS] {
    let mut cells = [const { String::new() }; COLUMNS];
    let yardstick = rows.first().and_then(|row| row.yardstick.as_ref());
    cells[0] = rows.first().map_or(String::new(), |row| row.what.to_owned());
    cells[1] = yardstick.map_or(String::new(), |figure| figure.unit.show(figure.value.median));
    cells[2] = yardstick.map_or(String::new(), |figure| figure.name.to_owned());
    for row in rows {
        let at = match row.backend {
            Backend::Kvm => OF_BOTH,
            Backend::Process => OF_BOTH + OF_BACKEND,
        };
        cells[at] = row.subject.unit.show(row.subject.value.median);
        cells[at + 1] = result(row);
        cells[at + 2] = goal(row);
    }
    cells
}

fn result(row: &Row) -> String {
    let result = row.result;
    let median = row.show(result.median);
    if row.samples > 1 {
        format!("{median} ({} to {})", row.show(result.low), row.show(result.high))
    } else {
        median
    }
}

fn goal(row: &Row) -> String {
    let goal = row.show_goal();
    match row.met() {
        Some(true) => format!("{goal} reached"),
        Some(false) => format!("{goal} MISSED"),
        None => goal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::experiment::{Experiment, Goal, Measure};
    use crate::bench::number::Unit;

    #[test]
    fn what_was_measured_with_both_backends_stands_in_one_line() {
        let mut experiment = Experiment::new("test", 1);
        let yardstick = experiment.subject("a process", Unit::Nanoseconds, || Ok(2.0));
        for (backend, value) in BACKENDS.into_iter().zip([4.0, 6.0]) {
            let guest = experiment.subject("guest", Unit::Nanoseconds, move || Ok(value));
            experiment.row(backend, "work", guest, Measure::RatioTo(yardstick), Goal::AtMost(2.5));
        }
        let rows = experiment.run().expect("nothing here fails");
        let table = render(&rows);
        let lines = [
            "what  yardstick                kvm          goal            process         goal",
            "work    2.00 ns  a process  4.00 ns  2.00×  ≤ 2.50× reached  6.00 ns  3.00×  ≤ 2.50× MISSED",
        ];
        assert_eq!(
            table.lines().map(str::split_whitespace).map(Vec::from_iter).collect::<Vec<_>>(),
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>())
        );
        let line = "| work | 2.00 ns | a process | 4.00 ns | 2.00× | ≤ 2.50× reached | 6.00 ns | 3.00× | ≤ 2.50× MISSED |";
        assert_eq!(markdown(&rows).lines().last(), Some(line));
    }
}
