//! Files and lines for addresses (DWARF 5, section 6.2).

use super::Location;
use super::budget::{Budget, Exhausted};
use super::tables::Bytes;
use gimli::{Dwarf, LineProgramHeader, Unit};

/// The longest header of a line table, which lists all files. A linked-together program has a few
/// thousand, of some twenty bytes each; in memory they take ten times as much.
const MAX_HEADER: u64 = 512 << 10;

/// How much of a path, or of a part of one, is looked at.
const MAX_PATH: usize = 4096;

/// Whether the line table at `offset` has a header of a size that can be loaded.
pub(super) fn is_loadable(lines: &Bytes<'_>, offset: usize) -> bool {
    fn header_length(lines: &Bytes<'_>, offset: usize) -> Option<u64> {
        let bytes = lines.slice().get(offset..)?;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?));
        // unit length, version, since version 5 sizes of address and segment, header length
        let is_64_bit = word(0)? == u32::MAX;
        let at: usize = if is_64_bit { 12 } else { 4 };
        let version = u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?);
        let at = at + if version >= 5 { 4 } else { 2 };
        if is_64_bit { long(at) } else { word(at).map(u64::from) }
    }
    header_length(lines, offset).is_some_and(|length| length <= MAX_HEADER)
}

/// Finds the line of each address that a unit's table covers.
pub(super) fn find<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    unit: &Unit<Bytes<'a>>,
    addresses: &[u64],
    budget: &mut Budget,
) -> Result<Vec<Option<Location>>, Exhausted> {
    let mut found = vec![None; addresses.len()];
    let Some(program) = unit.line_program.clone() else { return Ok(found) };
    // Instructions that make no row take time too.
    budget.spend(program.header().raw_program_buf().len() as u64 / 16)?;
    let mut rows = program.rows();
    let mut previous: Option<Row> = None;
    let mut sequence_start = None;
    while let Ok(Some((header, row))) = rows.next_row() {
        budget.spend(1)?;
        let end = row.address();
        // A sequence at zero belongs to a function that the linker has left out.
        if let Some(previous) = previous.filter(|_| sequence_start != Some(0)) {
            for (&address, found) in addresses.iter().zip(&mut found) {
                if found.is_none() && previous.address <= address && address < end {
                    *found = Some(Location {
                        file: path(dwarf, unit, header, previous.file, budget)?
                            .unwrap_or_else(|| "?".to_owned()),
                        line: previous.line,
                        column: previous.column,
                    });
                }
            }
        }
        let column = match row.column() {
            gimli::ColumnType::LeftEdge => 0,
            gimli::ColumnType::Column(column) => column.get(),
        };
        let line = row.line().map_or(0, |line| line.get());
        sequence_start = sequence_start.or(Some(end));
        previous = Some(Row { address: end, file: row.file_index(), line, column });
        if row.end_sequence() {
            (previous, sequence_start) = (None, None);
        }
    }
    Ok(found)
}

#[derive(Debug, Clone, Copy)]
struct Row {
    address: u64,
    file: u64,
    line: u64,
    column: u64,
}

/// The path of a file that a unit's line table numbers.
pub(super) fn path<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    unit: &Unit<Bytes<'a>>,
    header: &LineProgramHeader<Bytes<'a>>,
    file: u64,
    budget: &mut Budget,
) -> Result<Option<String>, Exhausted> {
    // The end of a string that has none is looked for in the whole section.
    budget.spend_much()?;
    let text = |bytes: Bytes<'a>| {
        let bytes = bytes.slice();
        String::from_utf8_lossy(bytes.get(..MAX_PATH).unwrap_or(bytes)).into_owned()
    };
    let Some(entry) = header.file(file) else { return Ok(None) };
    let start = unit.comp_dir.map(text).unwrap_or_default();
    let folder = entry.directory(header).and_then(|folder| dwarf.attr_string(unit, folder).ok()).map(text);
    let name = dwarf.attr_string(unit, entry.path_name()).ok().map(text);
    Ok(name.map(|name| shorten(&join(&join(&start, &folder.unwrap_or_default()), &name), &start)))
}

fn join(start: &str, rest: &str) -> String {
    if rest.starts_with('/') || start.is_empty() {
        rest.to_owned()
    } else if rest.is_empty() || rest == start {
        start.to_owned()
    } else {
        format!("{}/{rest}", start.trim_end_matches('/'))
    }
}

/// Shortens a path to the part that begins with the folder of its crate: `hello/src/main.rs`,
/// `talc-5.1.1/src/lib.rs`, `library/core/src/fmt/mod.rs`. Where toolchain, registry and workspace
/// lie says nothing about the program. `start` is the folder that the compiler ran in.
fn shorten(path: &str, start: &str) -> String {
    if let Some((_, rest)) = path.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        return rest.to_owned();
    }
    if let Some((_, rest)) = path.split_once("/lib/rustlib/src/rust/") {
        return rest.to_owned();
    }
    if let Some((_, rest)) = path.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')) {
        return rest.to_owned();
    }
    if let Some((_, rest)) = path.split_once("/git/checkouts/") {
        return rest.to_owned();
    }
    from_crate(path).or_else(|| from_start(path, start)).unwrap_or(path).to_owned()
}

/// From the folder that holds the last `src` on.
fn from_crate(path: &str) -> Option<&str> {
    let (before, _) =
        path.rsplit_once("/src/").filter(|(before, _)| path.ends_with(".rs") && !before.is_empty())?;
    path.get(before.rfind('/').map_or(0, |slash| slash + 1)..)
}

/// From the folder that the compiler ran in on, with its name.
fn from_start<'p>(path: &'p str, start: &str) -> Option<&'p str> {
    let start = start.trim_end_matches('/');
    let (folders, _) = start.rsplit_once('/')?;
    let below = path.strip_prefix(start)?.starts_with('/');
    path.get(folders.len() + 1..).filter(|_| below)
}

#[cfg(test)]
mod tests {
    use super::{is_loadable, join, shorten};
    use gimli::{EndianSlice, LittleEndian};

    #[test]
    fn paths_are_shortened_to_what_says_something() {
        let start = "/home/me/app";
        for (path, short) in [
            // The crate that the compiler ran in, and one elsewhere that is inlined into it.
            ("/home/me/app/src/main.rs", "app/src/main.rs"),
            ("/home/me/coracle/libos/src/io/stdout.rs", "libos/src/io/stdout.rs"),
            // A crate of a workspace, of which the compiler ran in the root.
            ("/home/me/app/parts/engine/src/lib.rs", "engine/src/lib.rs"),
            ("/home/me/app/src/parts/engine/src/lib.rs", "engine/src/lib.rs"),
            ("/home/me/app/target/build/out/table.rs", "app/target/build/out/table.rs"),
            ("/home/me/app/native/sum.c", "app/native/sum.c"),
            ("/rustc/59807616e1/library/core/src/panicking.rs", "library/core/src/panicking.rs"),
            (
                "/home/me/.rustup/toolchains/x/lib/rustlib/src/rust/library/alloc/src/vec.rs",
                "library/alloc/src/vec.rs",
            ),
            ("/home/me/.cargo/registry/src/index.crates.io-1/talc-5.1.1/src/lib.rs", "talc-5.1.1/src/lib.rs"),
            ("/home/me/.cargo/git/checkouts/talc-0a1b/c3d4/src/lib.rs", "talc-0a1b/c3d4/src/lib.rs"),
            ("/usr/include/x.h", "/usr/include/x.h"),
            ("/usr/src/lib/x.c", "/usr/src/lib/x.c"),
            ("/home/me/application/x.rs", "/home/me/application/x.rs"),
        ] {
            assert_eq!(shorten(path, start), short);
        }
        assert_eq!(shorten("/src/main.rs", ""), "/src/main.rs");
        assert_eq!(shorten("src/main.rs", ""), "src/main.rs");
    }

    #[test]
    fn parts_of_paths_are_joined_unless_the_later_is_absolute() {
        assert_eq!(join("/a", "b.rs"), "/a/b.rs");
        assert_eq!(join("/a/", "b.rs"), "/a/b.rs");
        assert_eq!(join("/a", "/b.rs"), "/b.rs");
        assert_eq!(join("/a", "/a"), "/a");
        assert_eq!(join("", "b.rs"), "b.rs");
    }

    #[test]
    fn a_line_table_with_a_huge_header_is_not_loaded() {
        let table = |length: u32| {
            let mut bytes = vec![0xff, 0, 0, 0, 5, 0, 8, 0];
            bytes.extend(length.to_le_bytes());
            bytes
        };
        assert!(is_loadable(&EndianSlice::new(&table(1000), LittleEndian), 0));
        assert!(!is_loadable(&EndianSlice::new(&table(1 << 28), LittleEndian), 0));
        assert!(!is_loadable(&EndianSlice::new(&table(1000), LittleEndian), 9));
    }
}
