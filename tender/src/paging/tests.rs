//! The builder and the editor against a plain model: a map from page to what was asked for.

use super::*;
use crate::memory::OutOfMemory;
use coracle_hypercall::memory::{LARGE_PAGE, PAGE};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Where tables are taken from.
const TABLES: u64 = 0x10_0000;
const TABLES_END: u64 = 0x80_0000;

/// Entries in a map; everything else reads as zero.
#[derive(Debug, Default)]
struct Sparse(HashMap<u64, u64>);

impl EntryMemory for &mut Sparse {
    fn entry(&self, address: u64) -> Result<PageTableEntry, OutOfMemory> {
        Ok(from_bits(self.0.get(&address).copied().unwrap_or(0)))
    }

    fn set_entry(&mut self, address: u64, entry: &PageTableEntry) -> Result<(), OutOfMemory> {
        self.0.insert(address, to_bits(entry));
        Ok(())
    }
}

type Model = BTreeMap<u64, (u64, Rights, bool)>;

/// Adds a mapping to the model unless it overlaps one. Says whether it did.
fn add(model: &mut Model, mapping: &Mapping) -> bool {
    let pages = (0..mapping.length).step_by(PAGE as usize);
    if pages.clone().any(|offset| model.contains_key(&(mapping.address + offset))) {
        return false;
    }
    for offset in pages {
        let page = (mapping.physical + offset, mapping.rights, mapping.user);
        model.insert(mapping.address + offset, page);
    }
    true
}

fn assert_same(memory: &mut Sparse, root: u64, model: &Model) {
    let reader: &mut Sparse = memory;
    for (address, (physical, rights, user)) in model {
        for offset in [0, 1, PAGE - 1] {
            let found = walk(&&mut *reader, root, address + offset).expect("memory");
            let found = found.unwrap_or_else(|| panic!("{address:#x} is mapped"));
            assert_eq!(found.physical, physical + offset);
            assert_eq!((found.rights, found.user), (*rights, *user), "{address:#x}");
        }
    }
    let mapped: u64 = leaves(&&mut *reader, root).expect("memory").iter().map(|leaf| leaf.size / PAGE).sum();
    assert_eq!(mapped, model.len() as u64, "nothing else is mapped");
}

fn rights() -> impl Strategy<Value = Rights> {
    prop_oneof![Just(Rights::READ), Just(Rights::READ | Rights::WRITE), Just(Rights::READ | Rights::EXECUTE),]
}

/// Mappings that crowd into few tables, so that they meet each other and large-page boundaries.
fn mappings() -> impl Strategy<Value = Vec<Mapping>> {
    let slot = prop_oneof![Just(0_u64), Just(1 << 30), Just(3 << 39), Just(255 << 39)];
    let one = (slot, 0..2048_u64, 0..2048_u64, 1..1200_u64, rights(), any::<bool>(), any::<bool>());
    let one = one.prop_map(|(slot, page, frame, pages, rights, user, aligned)| {
        let grain = if aligned { 512 } else { 1 };
        Mapping {
            address: slot + page / grain * grain * PAGE,
            physical: (1 << 32) + frame / grain * grain * PAGE,
            length: pages * PAGE,
            rights,
            user,
        }
    });
    prop::collection::vec(one, 1..12)
}

proptest! {
    #[test]
    fn a_walk_finds_exactly_what_was_mapped(mappings in mappings()) {
        let mut memory = Sparse::default();
        let mut model = Model::new();
        let mut builder = Builder::new(&mut memory, TABLES, TABLES_END).expect("room");
        for mapping in &mappings {
            if add(&mut model, mapping) {
                builder.map(*mapping).expect("free");
            }
        }
        let root = builder.root();
        assert_same(&mut memory, root, &model);
    }

    #[test]
    fn edits_change_the_rights_of_their_range_and_nothing_else(
        start in 0..1500_u64,
        changes in prop::collection::vec((0..1536_u64, 1..1536_u64, 0..4_usize, 1..600_usize), 1..8),
        used: bool,
    ) {
        let place = Mapping {
            address: (7 << 39) + start / 512 * LARGE_PAGE,
            physical: 1 << 32,
            length: 3 * LARGE_PAGE,
            rights: Rights::READ | Rights::WRITE,
            user: true,
        };
        let other = Mapping { address: 9 << 39, user: false, ..place };
        let mut memory = Sparse::default();
        let mut model = Model::new();
        let mut builder = Builder::new(&mut memory, TABLES, TABLES_END).expect("room");
        for mapping in [place, other] {
            add(&mut model, &mapping);
            builder.map(mapping).expect("free");
        }
        let root = builder.root();
        let mut pool = Pool { next: builder.next_free(), end: TABLES_END, used };
        if used {
            // What an earlier run has left there. Each change may split three large pages.
            let left = (pool.next..pool.next + 24 * PAGE).step_by(8);
            memory.0.extend(left.map(|address| (address, address | 7)));
        }
        for (first, count, choice, most) in changes {
            let rights = [
                Rights::empty(),
                Rights::READ,
                Rights::READ | Rights::WRITE,
                Rights::READ | Rights::EXECUTE,
            ][choice];
            let length = count.min(1536 - first) * PAGE;
            let most = if used { most + ENTRIES as usize } else { most };
            let (address, physical) = (place.address + first * PAGE, place.physical + first * PAGE);
            let mut editor = Editor { memory: &mut memory, root, pool: &mut pool };
            let (edits, done) = editor.plan(address, physical, length, rights, most).expect("mapped");
            prop_assert!(done > 0 && done <= length);
            prop_assert!(edits.iter().map(|edit| edit.values.len()).sum::<usize>() <= most);
            for edit in edits {
                for (index, value) in edit.values.iter().enumerate() {
                    memory.0.insert(edit.entry + index as u64 * 8, *value);
                }
            }
            for page in (0..done).step_by(PAGE as usize) {
                let was = model.get_mut(&(address + page));
                // An inaccessible page is remembered as such: it can be given rights again.
                was.expect("in the model").1 = rights;
            }
            let mut visible = model.clone();
            visible.retain(|_, (_, rights, _)| !rights.is_empty());
            assert_same(&mut memory, root, &visible);
        }
    }
}

fn builder(memory: &mut Sparse) -> Builder<&mut Sparse> {
    Builder::new(memory, TABLES, TABLES_END).expect("room")
}

const PLACE: Mapping =
    Mapping { address: 1 << 39, physical: 1 << 32, length: PAGE, rights: Rights::READ, user: true };

#[test]
fn a_page_that_is_writable_and_executable_is_refused() {
    let mut memory = Sparse::default();
    let mapping = Mapping { rights: Rights::all(), ..PLACE };
    assert_eq!(builder(&mut memory).map(mapping), Err(BuildError::WriteExecute(PLACE.address)));
}

#[test]
fn a_page_is_not_mapped_twice() {
    let mut memory = Sparse::default();
    let mut builder = builder(&mut memory);
    builder.map(PLACE).expect("free");
    assert_eq!(builder.map(PLACE), Err(BuildError::Taken(PLACE.address)));
}

#[test]
fn addresses_outside_the_lower_half_are_refused() {
    let mut memory = Sparse::default();
    for address in [1 << 47, u64::MAX - PAGE + 1, (1 << 47) - PAGE + 8] {
        let mapping = Mapping { address, length: 2 * PAGE, ..PLACE };
        assert_eq!(builder(&mut memory).map(mapping), Err(BuildError::Shape(address)));
    }
}

#[test]
fn running_out_of_tables_is_an_error() {
    let mut memory = Sparse::default();
    let mut builder = Builder::new(&mut memory, TABLES, TABLES + 2 * PAGE).expect("room");
    assert_eq!(builder.map(PLACE), Err(BuildError::NoRoom));
}

#[test]
fn a_system_page_cannot_be_reached_through_a_user_table() {
    let mut memory = Sparse::default();
    let mut builder = builder(&mut memory);
    builder.map(PLACE).expect("free");
    let system = Mapping { address: PLACE.address + PAGE, user: false, ..PLACE };
    builder.map(system).expect("free");
    let root = builder.root();
    let found = walk(&&mut memory, root, system.address).expect("memory").expect("mapped");
    assert!(!found.user && !found.allows(Access::Read));
}

const READ_WRITE: Rights = Rights::READ.union(Rights::WRITE);

/// Plans other rights for pages under the PML4 at [`TABLES`], which lead to `physical` and on.
fn plan(memory: &mut Sparse, address: u64, physical: u64, length: u64) -> Result<Vec<Edit>, EditError> {
    let mut pool = Pool { next: TABLES_END - 4 * PAGE, end: TABLES_END, used: true };
    let mut editor = Editor { memory, root: TABLES, pool: &mut pool };
    editor.plan(address, physical, length, READ_WRITE, 2000).map(|(edits, _)| edits)
}

#[test]
fn where_a_page_leads_is_not_taken_from_its_entry() {
    const PHYSICAL: u64 = 1 << 32;
    // A page, a large page, and a part of a large page.
    for (length, changed) in [(PAGE, PAGE), (LARGE_PAGE, LARGE_PAGE), (LARGE_PAGE, PAGE)] {
        let mut memory = Sparse::default();
        let place = Mapping { physical: PHYSICAL, length, rights: READ_WRITE, ..PLACE };
        builder(&mut memory).map(place).expect("free");
        let level = if length == LARGE_PAGE { 2 } else { 1 };
        let table = TABLES + (4 - level) * PAGE;
        let at = entry_address(table, level as u8, place.address);
        // Absent, and it names the PML4.
        memory.0.insert(at, TABLES).expect("the page's entry");
        let edits = plan(&mut memory, place.address, PHYSICAL, changed).expect("mapped");
        for edit in edits {
            for (index, value) in edit.values.iter().enumerate() {
                memory.0.insert(edit.entry + index as u64 * 8, *value);
            }
        }
        for leaf in leaves(&&mut memory, TABLES).expect("memory") {
            assert_eq!(leaf.translation.physical, PHYSICAL + (leaf.address - place.address), "level {level}");
        }
        let found = walk(&&mut memory, TABLES, place.address).expect("memory").expect("mapped");
        assert!(found.allows(Access::Write));
    }
}

#[test]
fn a_large_page_whose_memory_does_not_begin_as_one_is_not_edited() {
    let mut memory = Sparse::default();
    let place = Mapping { length: 2 * LARGE_PAGE, ..PLACE };
    builder(&mut memory).map(place).expect("free");
    for length in [PAGE, LARGE_PAGE] {
        let result = plan(&mut memory, place.address, place.physical + PAGE, length);
        assert_eq!(result, Err(EditError::NotMapped));
    }
}

#[test]
fn an_entry_that_leads_to_no_directory_is_not_edited() {
    for table in [TABLES, TABLES + PAGE] {
        let mut memory = Sparse::default();
        builder(&mut memory).map(PLACE).expect("free");
        let level = if table == TABLES { 4 } else { 3 };
        *memory.0.get_mut(&entry_address(table, level, PLACE.address)).expect("an entry") |= 1 << 7;
        assert_eq!(plan(&mut memory, PLACE.address, PLACE.physical, PAGE), Err(EditError::NotMapped));
    }
}
