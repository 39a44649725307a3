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
            let address = place.address + first * PAGE;
            let mut editor = Editor { memory: &mut memory, root, pool: &mut pool };
            let (edits, done) = editor.plan(address, length, rights, most).expect("mapped");
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
