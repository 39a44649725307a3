//! The results for scripts.

use super::experiment::Row;
use crate::shell::line;
use serde::Serialize;
use serde_json::json;

/// All rows, with the machine they were measured on.
pub(super) fn render(rows: &[Row]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| Judged { row, met: row.met() }).collect();
    let report = json!({ "revision": revision(), "machine": machine(), "rows": rows });
    format!("{report:#}\n")
}

/// A row, and whether its goal is reached.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    row: &'a Row,
    met: Option<bool>,
}

/// What the figures depend on.
fn machine() -> serde_json::Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "cpu": cpu.map(|(_, name)| name),
        "cpus": cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled").trim(),
    })
}

/// The version control's name for what is checked out.
fn revision() -> Option<String> {
    let described = line("git").args(["describe", "--always", "--dirty"]).quiet_output().ok()?;
    Some(String::from_utf8_lossy(&described).trim().to_owned())
}
