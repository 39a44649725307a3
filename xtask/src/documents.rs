//! Tests that the documents are true of the repository.

use crate::not_run::not_run;
use crate::paths::root;
use std::path::{Path, PathBuf};

/// The files below a folder whose names end so, but for what is built or hidden.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a readable folder").flatten();
    let mut found = Vec::new();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, suffix));
            }
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
    found
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether the repository is not here: tests may be carried to another machine without it.
fn no_repository(test: &str) -> bool {
    let missing = !root().join("SPECIFICATION.md").exists();
    if missing {
        not_run(test, "the repository is not on this machine");
    }
    missing
}

/// Where modules with tests begin. Those of `vm` are named without it, as are crates.
const SOURCES: [&str; 6] =
    ["tender/tests/vm", "tender/tests", "tender/src", "hypercall/src", "libos/macros/src", "xtask/src"];

/// The files that a path of modules may mean.
fn module_files(modules: &[&str]) -> Vec<PathBuf> {
    let files = SOURCES.iter().flat_map(|source| {
        let path = modules.iter().fold(root().join(source), |path, module| path.join(module));
        [path.with_extension("rs"), path.join("mod.rs")]
    });
    files.filter(|file| file.exists()).collect()
}

/// The names of the test functions of a file; with `inner`, of the module of that name within it.
fn tests_of(file: &Path, inner: Option<&str>) -> Vec<String> {
    let text = read(file);
    let start = match inner {
        None => 0,
        Some(inner) => match text.find(&format!("\nmod {inner} {{\n")) {
            Some(start) => start,
            None => return Vec::new(),
        },
    };
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.get(start..).unwrap_or_default().lines().map(str::trim_start) {
        match line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
            Some((name, _)) => {
                if std::mem::take(&mut is_test) {
                    names.push(name.to_owned());
                }
            }
            None => is_test |= line.starts_with("#[test]"),
        }
    }
    names
}

/// Whether there is a test of this name, `module::module::test`. `tests` in between may be a module
/// within the file of the one before, and is left out where it is.
fn is_test(name: &str) -> bool {
    let mut modules: Vec<&str> = name.split("::").collect();
    let Some(test) = modules.pop() else { return false };
    let has = |tests: Vec<String>| tests.iter().any(|name| name == test);
    module_files(&modules).iter().any(|file| has(tests_of(file, None)) || has(tests_of(file, Some("tests"))))
}

/// Whether this is a module with tests in it.
fn is_module_of_tests(name: &str) -> bool {
    let modules: Vec<&str> = name.split("::").collect();
    let with_submodules = |file: &PathBuf| {
        let below = files_if_any(&file.with_extension(""));
        !tests_of(file, None).is_empty() || below.iter().any(|file| !tests_of(file, None).is_empty())
    };
    module_files(&modules).iter().any(with_submodules)
}

fn files_if_any(folder: &Path) -> Vec<PathBuf> {
    if folder.is_dir() { files(folder, ".rs") } else { Vec::new() }
}

#[test]
fn every_test_that_the_specification_names_exists() {
    if no_repository("documents::every_test_that_the_specification_names_exists") {
        return;
    }
    let specification = read(&root().join("SPECIFICATION.md"));
    let mut words = specification.split('`');
    let mut before = words.next().unwrap_or_default();
    while let (Some(name), after) = (words.next(), words.next().unwrap_or_default()) {
        let is_path = name.contains("::") && !name.starts_with("coracle::");
        if before.ends_with("all of ") {
            assert!(is_module_of_tests(name), "there is no module of tests {name}");
        } else if is_path {
            assert!(is_test(name), "there is no test {name}");
        }
        before = after;
    }
}

#[test]
fn a_test_is_found_in_its_own_file_only() {
    if no_repository("documents::a_test_is_found_in_its_own_file_only") {
        return;
    }
    assert!(is_test("documents::a_test_is_found_in_its_own_file_only"));
    assert!(is_test("not_run::tests_that_did_not_run_are_counted_once_each_by_reason"));
    assert!(!is_test("shell::a_test_is_found_in_its_own_file_only"));
    assert!(!is_test("nowhere::a_test_is_found_in_its_own_file_only"));
    assert!(!is_test("documents::is_test"), "not every function is a test");
    assert!(is_module_of_tests("documents") && !is_module_of_tests("main"));
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    if no_repository("documents::links_within_the_repository_lead_somewhere") {
        return;
    }
    for document in files(root(), ".md") {
        let text = read(&document);
        let folder = document.parent().expect("a file is in a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, _anchor) = link.split_once('#').unwrap_or((link, ""));
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{} links to {path}", document.display());
            }
        }
    }
}

/// The lines of a table of a document's section, as cells.
fn table<'t>(text: &'t str, section: &str) -> Vec<Vec<&'t str>> {
    let after = text.split_once(&format!("\n## {section}\n")).map(|(_, after)| after).unwrap_or_default();
    let of_section = after.split("\n## ").next().unwrap_or_default();
    let lines = of_section.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    lines.skip(2).map(|line| line.split('|').map(str::trim).collect()).collect()
}

#[test]
fn rows_of_the_bench_that_documents_name_exist() {
    if no_repository("documents::rows_of_the_bench_that_documents_name_exist") {
        return;
    }
    let experiments = crate::bench::all_rows();
    let specification = read(&root().join("SPECIFICATION.md"));
    let promises = table(&specification, "Speed");
    assert!(promises.len() > 10, "no table of speed");
    for cells in promises {
        let rows = cells.get(1).copied().unwrap_or_default();
        let named: Vec<_> = rows.split('*').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no row holds {}", cells[0]);
        for row in named {
            assert!(experiments.iter().any(|(_, rows)| rows.contains(&row)), "the bench has no row {row}");
        }
    }
    let measuring = read(&root().join("docs/measuring.md"));
    let rows = table(&measuring, "The rows");
    // A second table below that is of something else.
    let rows = rows.iter().filter(|cells| cells[0].starts_with('`'));
    assert!(rows.clone().count() > 30, "no table of rows");
    for cells in rows {
        let of: Vec<_> = cells[0].split('`').skip(1).step_by(2).collect();
        for row in cells[1].split(" / ") {
            let is_of = |(name, rows): &(&str, Vec<&str>)| of.contains(name) && rows.contains(&row);
            assert!(experiments.iter().any(is_of), "the bench has no row {row} of {of:?}");
        }
    }
}
