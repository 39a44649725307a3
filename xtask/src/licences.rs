//! Whether everything that we depend on may be given away with us.

use crate::metadata::{self, Package};
use crate::shell::{Failure, Result};
use crate::{guests, paths};
use std::collections::BTreeMap;

/// Licences that ask for no more than to be named, on their own terms compatible with
/// `Apache-2.0 OR MIT`.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(crate) fn check() -> Result {
    let mut packages = BTreeMap::new();
    let workspaces = guests::ALL.iter().map(|guests| guests.path());
    for workspace in std::iter::once(paths::root().to_owned()).chain(workspaces) {
        for package in metadata::everything(&workspace)?.packages {
            packages.insert((package.name.clone(), package.version.clone()), package);
        }
    }
    let foreign: Vec<&Package> = packages.values().filter(|package| package.source.is_some()).collect();
    let refused: Vec<_> = foreign.iter().filter_map(|package| objection(package)).collect();
    if !refused.is_empty() {
        return Err(Failure::new(format!(
            "licences not in the list of xtask/src/licences.rs:\n{}",
            refused.join("\n")
        )));
    }
    eprintln!("{} dependencies, all under licences of the list in xtask/src/licences.rs", foreign.len());
    Ok(())
}

fn objection(package: &Package) -> Option<String> {
    let licence = package.license.as_deref().unwrap_or("none named");
    (!is_allowed(licence)).then(|| format!("  {} {}: {licence}", package.name, package.version))
}

/// Whether a licence expression (SPDX, or the older form with `/` for OR) can be met from the list.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

/// `both OR both …`; nothing when that is not what stands there.
fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut met = both(rest)?;
    while skip(rest, "OR") {
        met |= both(rest)?;
    }
    Some(met)
}

/// `one AND one …`
fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut met = one(rest)?;
    while skip(rest, "AND") {
        met &= one(rest)?;
    }
    Some(met)
}

/// `( either )`, `NAME`, or `NAME WITH EXCEPTION`
fn one(rest: &mut &[&str]) -> Option<bool> {
    if skip(rest, "(") {
        let met = either(rest)?;
        return skip(rest, ")").then_some(met);
    }
    let mut name = take(rest)?.to_owned();
    if skip(rest, "WITH") {
        name = format!("{name} WITH {}", take(rest)?);
    }
    Some(ALLOWED.contains(&name.as_str()))
}

fn take<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(first)
}

fn skip(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn a_choice_is_met_by_either_side_and_a_sum_by_both() {
        assert!(is_allowed("MIT"));
        assert!(is_allowed("GPL-3.0-only OR MIT"));
        assert!(is_allowed("MIT/Apache-2.0"));
        assert!(is_allowed("(MIT OR GPL-2.0-only) AND Unicode-3.0"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(!is_allowed("MIT AND GPL-3.0-only"));
        assert!(!is_allowed("GPL-3.0-only"));
        assert!(!is_allowed("Apache-2.0 WITH unheard-of-exception"));
    }

    #[test]
    fn what_is_not_an_expression_is_not_allowed() {
        for expression in ["", "none named", "MIT OR", "(MIT", "MIT)", "MIT MIT", "AND MIT"] {
            assert!(!is_allowed(expression), "{expression:?}");
        }
    }
}
