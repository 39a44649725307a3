//! Functions, files and lines for the frames of a trace, from the sources at hand.

use super::budget::Budget;
use super::debuginfo::{DebugInfo, Found};
use super::elf::ElfFile;
use super::fold::Item;
use super::place::{Place, locate};
use super::symbols::Symbols;
use super::text::{escape_name, hex};
use super::{Function, Hex, Line, Location, Scene};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How much of a name is demangled. Names of a few bytes can stand for very long ones.
const MAX_DEMANGLED: usize = 2000;

/// A trace with names, and what is to be said about where they come from.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) lines: Vec<Line>,
    pub(super) notes: Vec<String>,
}

/// Names the frames of a trace.
pub(super) fn find(
    items: &[Item],
    scene: &Scene<'_>,
    image: Option<&ElfFile<'_>>,
    budget: &mut Budget,
) -> Named {
    let mut notes = Vec::new();
    let addresses = image_addresses(items, scene);
    let mut functions = vec![Vec::new(); addresses.len()];
    let twin = scene.symbols.and_then(|path| match Twin::open(path) {
        Ok(file) => Some((path, file)),
        Err(error) => {
            notes.push(format!("no names from {}: it cannot be opened: {error}", path.display()));
            None
        }
    });
    if let Some((path, file)) = &twin {
        let named = file.image().and_then(|twin| {
            is_twin(&twin, scene, image)?;
            name(&twin, &addresses, &mut functions, budget)
        });
        notes.extend(named.err().map(|reason| format!("no names from {}: {reason}", path.display())));
    }
    if let Some(image) = image
        && let Err(reason) = name(image, &addresses, &mut functions, budget)
    {
        notes.push(format!("not all names from {}: {reason}", scene.image_path.display()));
    }
    if twin.is_none() && !addresses.is_empty() && functions.iter().all(Vec::is_empty) {
        notes.push(where_from(scene));
    }
    let functions: HashMap<u64, Vec<Function>> = addresses.into_iter().zip(functions).collect();
    let lines = items.iter().map(|item| line(*item, scene, &functions)).collect();
    Named { lines, notes }
}

/// The addresses of the image's file that are to be named, each once.
fn image_addresses(items: &[Item], scene: &Scene<'_>) -> Vec<u64> {
    let in_image = |item: &Item| match item {
        Item::Frame(_, frame) if scene.places.image.contains(frame.lookup) => {
            Some(frame.lookup.wrapping_sub(scene.places.bias))
        }
        _ => None,
    };
    let mut addresses: Vec<u64> = items.iter().filter_map(in_image).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The file given with `--symbols`.
struct Twin {
    file: File,
}

impl Twin {
    fn open(path: &Path) -> std::io::Result<Twin> {
        Ok(Twin { file: File::open(path)? })
    }

    fn image(&self) -> Result<ElfFile<'_>, String> {
        ElfFile::open(&self.file).map_err(|error| error.to_string())
    }
}

/// Makes sure that a file is another build product of the same link as the image.
fn is_twin(twin: &ElfFile<'_>, scene: &Scene<'_>, image: Option<&ElfFile<'_>>) -> Result<(), String> {
    let show = |id: Option<&[u8]>| id.map_or("none".to_owned(), hex);
    let (theirs, ours) = (twin.build_id(), scene.build_id);
    if theirs.as_deref() != ours {
        return Err(format!(
            "it is not the same build: its build id is {}, the image's is {}",
            show(theirs.as_deref()),
            show(ours)
        ));
    }
    // Without build ids, segments of the same places and sizes must do.
    if ours.is_none() && image.is_some_and(|image| image.outline() != twin.outline()) {
        return Err("it is not the same build: its segments are not the image's".to_owned());
    }
    Ok(())
}

/// Names what has no name yet from one file.
fn name(
    file: &ElfFile<'_>,
    addresses: &[u64],
    functions: &mut [Vec<Function>],
    budget: &mut Budget,
) -> Result<(), String> {
    // gimli computes with values of the file without checking for overflow: where that panics
    // (builds with overflow checks), it costs names and not the tender.
    catch_unwind(AssertUnwindSafe(|| name_unfenced(file, addresses, functions, budget)))
        .unwrap_or_else(|_| Err("its debug information is damaged".to_owned()))
}

fn name_unfenced(
    file: &ElfFile<'_>,
    addresses: &[u64],
    functions: &mut [Vec<Function>],
    budget: &mut Budget,
) -> Result<(), String> {
    let open: Vec<usize> = functions
        .iter()
        .enumerate()
        .filter(|(_, functions)| functions.is_empty())
        .map(|(index, _)| index)
        .collect();
    let wanted: Vec<u64> = open.iter().filter_map(|&index| addresses.get(index).copied()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); wanted.len()];
    // The symbols first: they say less, and take less of what may be read of a file.
    let symbols = Symbols::load(file);
    let debug_info = DebugInfo::load(file);
    if let Ok(Some(debug_info)) = &debug_info {
        // What was found before the time was up is shown; the report says that it was.
        let _ = debug_info.find(&wanted, &mut found, budget);
    }
    let mut names = vec![None; wanted.len()];
    if let Ok(Some(symbols)) = &symbols {
        names = symbols.find(&wanted, budget).unwrap_or(names);
    }
    for ((index, found), symbol) in open.into_iter().zip(found).zip(names) {
        if let Some(functions) = functions.get_mut(index) {
            *functions = combine(found, symbol);
        }
    }
    debug_info.map_err(|error| error.to_string())?;
    symbols.map_err(|error| error.to_string())?;
    Ok(())
}

/// Joins what debug information and symbol table say: the symbol names the outermost function where
/// the debug information has no name for it, or only a short one.
fn combine(found: Vec<Found>, symbol: Option<super::symbols::Symbol>) -> Vec<Function> {
    let count = found.len();
    let mut functions: Vec<Function> = found
        .into_iter()
        .enumerate()
        .map(|(index, found)| {
            let better = symbol.as_ref().filter(|_| index + 1 == count && !found.is_linkage_name);
            let name = better.map(|symbol| symbol.name.clone()).or(found.name);
            let location =
                found.location.map(|location| Location { file: escape_name(&location.file), ..location });
            Function { name: name.map_or("?".to_owned(), |name| readable(&name)), offset: None, location }
        })
        .collect();
    if let Some(symbol) = symbol {
        match functions.last_mut() {
            Some(outermost) if count == 1 => outermost.offset = Some(symbol.offset),
            Some(_) => {}
            None => functions.push(Function {
                name: readable(&symbol.name),
                offset: Some(symbol.offset),
                location: None,
            }),
        }
    }
    functions
}

/// A name as it would be written in Rust, fit to be printed.
fn readable(name: &[u8]) -> String {
    /// Takes so much text and then refuses, which ends the demangling.
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text);
            if self.0.len() > MAX_DEMANGLED { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let name = String::from_utf8_lossy(name);
    let mut readable = Bounded(String::new());
    // An error says that it has been cut short.
    let _ = write!(readable, "{:#}", rustc_demangle::demangle(&name));
    escape_name(&readable.0)
}

fn line(item: Item, scene: &Scene<'_>, functions: &HashMap<u64, Vec<Function>>) -> Line {
    match item {
        Item::Repeated { frames, times } => Line::Repeated { frames, times },
        Item::LeftOut(frames) => Line::LeftOut { frames },
        Item::Frame(number, frame) => {
            let place = locate(frame.lookup, scene);
            let in_file = frame.lookup.wrapping_sub(scene.places.bias);
            let (place, functions) = if place == Place::Image {
                let mut known = functions.get(&in_file).cloned().unwrap_or_default();
                let behind = frame.address.wrapping_sub(frame.lookup);
                for offset in known.iter_mut().filter_map(|function| function.offset.as_mut()) {
                    *offset = offset.wrapping_add(behind);
                }
                (format!("image+{:#x}", frame.address.wrapping_sub(scene.places.bias)), known)
            } else {
                let rights = scene.memory.rights(frame.address);
                (format!("{:#x} ({})", frame.address, place.words(rights)), Vec::new())
            };
            Line::Frame { number, address: Hex(frame.address), place, functions }
        }
    }
}

fn where_from(scene: &Scene<'_>) -> String {
    let image = scene.image_path.display();
    let id = scene.build_id.map_or(String::new(), |id| format!(" (build id {})", hex(id)));
    format!("{image} has no names: give its unstripped twin{id} with --symbols FILE")
}

#[cfg(test)]
mod tests {
    use super::{Found, combine, readable};
    use crate::report::Location;
    use crate::report::symbols::Symbol;

    fn symbol(name: &str) -> Option<Symbol> {
        Some(Symbol { name: name.as_bytes().to_vec(), offset: 0x12 })
    }

    #[test]
    fn names_of_rust_are_shown_as_they_are_written() {
        assert_eq!(readable(b"_ZN3app5inner17h0123456789abcdefE"), "app::inner");
        assert_eq!(readable(b"_RNvC3app5inner"), "app::inner");
        assert_eq!(readable(b"memcpy"), "memcpy");
    }

    #[test]
    fn a_name_that_grows_without_end_is_cut() {
        let mut name = b"_RIC0".to_vec();
        name.extend(b"TB2_B2_B2_B2_E".repeat(30));
        assert!(readable(&name).chars().count() <= 1001);
    }

    #[test]
    fn a_symbol_alone_gives_a_name_and_an_offset() {
        let functions = combine(Vec::new(), symbol("memcpy"));
        assert_eq!(functions[0].name, "memcpy");
        assert_eq!(functions[0].offset, Some(0x12));
    }

    #[test]
    fn a_symbol_names_the_outermost_function_when_debug_information_is_short_of_it() {
        let location = Some(Location { file: "a.rs".to_owned(), line: 1, column: 0 });
        let inlined = Found { name: Some(b"inlined".to_vec()), is_linkage_name: false, location };
        let functions = combine(vec![inlined, Found::default()], symbol("_ZN3app5outer17h0123456789abcdefE"));
        assert_eq!(functions[0].name, "inlined");
        assert_eq!(functions[1].name, "app::outer");
    }
}
