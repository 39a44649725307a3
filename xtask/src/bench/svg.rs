//! The results as a picture: one bar for each row that has a goal, as long as the result is in
//! parts of the goal, with its spread. What reaches the goal ends left of the line at 1.

use super::experiment::{Goal, Row};
use super::statistics::Spread;
use std::fmt::Write;

const LABELS: f64 = 400.0;
const UNIT: f64 = 260.0;
const LONGEST: f64 = 1.8;
const RIGHT: f64 = 220.0;
const STEP: f64 = 26.0;
const BAR: f64 = 14.0;
const TOP: f64 = 34.0;

pub(super) fn render(rows: &[Row]) -> String {
    let bars: Vec<_> = rows.iter().filter_map(|row| Some((row, parts_of_goal(row)?))).collect();
    let width = LABELS + UNIT * LONGEST + RIGHT;
    let bottom = TOP + STEP * bars.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {}' font-family='sans-serif' \
         font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n",
        bottom + 12.0,
    );
    for (index, (row, parts)) in bars.iter().enumerate() {
        bar(&mut svg, TOP + STEP * index as f64, row, *parts);
    }
    let goal = LABELS + UNIT;
    line(&mut svg, [goal, TOP - 8.0, goal, bottom], "#222");
    text(&mut svg, goal, TOP - 14.0, "middle", "goal");
    svg + "</svg>\n"
}

/// A row's result in parts of its goal, so that less is better and 1 is enough.
fn parts_of_goal(row: &Row) -> Option<Spread> {
    let Spread { low, median, high } = row.result;
    match row.goal {
        Goal::AtMost(limit) => Some(Spread { low: low / limit, median: median / limit, high: high / limit }),
        Goal::AtLeast(limit) => Some(Spread { low: limit / high, median: limit / median, high: limit / low }),
        Goal::None => None,
    }
}

fn bar(svg: &mut String, top: f64, row: &Row, parts: Spread) {
    let x = |part: f64| LABELS + UNIT * part.clamp(0.0, LONGEST);
    let middle = top + BAR / 2.0;
    let colour = if parts.median <= 1.0 { "#4c8c6b" } else { "#c2603f" };
    let against = row.yardstick.as_ref().map_or(String::new(), |figure| format!(" / {}", figure.name));
    text(svg, LABELS - 10.0, middle + 4.0, "end", &format!("{}{against}, {}", row.what, row.backend.name()));
    rectangle(svg, [LABELS, top, x(parts.median) - LABELS, BAR], colour);
    line(svg, [x(parts.low), middle, x(parts.high), middle], "#222");
    for end in [x(parts.low), x(parts.high)] {
        line(svg, [end, middle - 4.0, end, middle + 4.0], "#222");
    }
    let beyond = if parts.high > LONGEST { " →" } else { "" };
    let label = format!("{}{beyond}  (goal {})", row.show(row.result.median), row.show_goal());
    text(svg, x(parts.high.max(parts.median).max(1.0)) + 8.0, middle + 4.0, "start", &label);
}

// Writing to a string does not fail, so the results of `write!` below are not looked at.

fn rectangle(svg: &mut String, [x, y, width, height]: [f64; 4], fill: &str) {
    let _ = writeln!(svg, "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height}' fill='{fill}'/>");
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], stroke: &str) {
    let _ = writeln!(svg, "<line x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}' stroke='{stroke}'/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' fill='#222'>{words}</text>");
}
