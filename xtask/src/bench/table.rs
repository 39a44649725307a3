//! The results as a table.

use super::experiment::Row;

const HEAD: [&str; 7] = ["what", "here", "yardstick", "", "result", "goal", ""];

/// One line for each row, in columns.
pub(super) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);

    let mut table = String::new();
    for cells in &lines {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            1 | 2 => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        table += padded.collect::<Vec<_>>().join("  ").trim_end();
        table.push('\n');
    }
    table
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let yardstick = row.yardstick.as_ref();
    let result = row.result;
    let spread = format!("({} to {})", row.show(result.low), row.show(result.high));
    let met = match row.met() {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "",
    };
    [
        row.what.to_owned(),
        row.subject.unit.show(row.subject.value.median),
        yardstick.map_or(String::new(), |figure| figure.unit.show(figure.value.median)),
        yardstick.map_or(String::new(), |figure| figure.name.to_owned()),
        if row.samples > 1 {
            format!("{} {spread}", row.show(result.median))
        } else {
            row.show(result.median)
        },
        row.show_goal(),
        met.to_owned(),
    ]
}
