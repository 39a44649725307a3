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
