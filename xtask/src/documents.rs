//! Tests that the documents are true of the repository.

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
fn no_repository() -> bool {
    let missing = !root().join("SPECIFICATION.md").exists();
    if missing {
        eprintln!("NOT RUN: there is no repository at {}", root().display());
    }
    missing
}

#[test]
fn every_test_that_the_specification_names_exists() {
    if no_repository() {
        return;
    }
    let sources: String = files(root(), ".rs").iter().map(|file| read(file)).collect();
    let specification = read(&root().join("SPECIFICATION.md"));
    let names = specification.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    for name in names.filter(|name| !name.starts_with("coracle::")) {
        let (module, last) = name.rsplit_once("::").unwrap_or_default();
        let module = module.rsplit("::").next().unwrap_or_default();
        let known = [format!("fn {last}("), format!("mod {last};")];
        assert!(known.iter().any(|known| sources.contains(known.as_str())), "there is no {name}");
        let inline =
            sources.contains(&format!("mod {module};")) || sources.contains(&format!("mod {module} "));
        let program = root().join("tender/tests").join(module).exists();
        assert!(inline || program, "there is no module {module} for {name}");
    }
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    if no_repository() {
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
