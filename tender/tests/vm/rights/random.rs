//! Places are random.

use super::code::{code, run};
use super::machine::booted;
use crate::support::no_kvm;
use coracle_hypercall::memory::LARGE_PAGE;
use coracle_tender::layout::{Extent, Physical, Placement, Places};
use std::collections::HashSet;

/// Bits of an address that take both values, of the last byte of each start.
const LEAST_BITS: u32 = 24;
/// The odds that a bit takes the same value in so many draws are 1 to 2^199.
const DRAWS: usize = 200;

fn varying(addresses: impl Iterator<Item = u64>) -> u32 {
    let (ones, zeros) = addresses.fold((0, 0), |(ones, zeros), address| (ones | address, zeros | !address));
    (ones & zeros).count_ones()
}

/// Places of one image, each drawn anew from a generator (xorshift64*) with a fixed seed.
fn draws() -> Vec<Places> {
    let image = Extent { start: 0, length: 64 << 10 };
    let physical = Physical::divide(64 << 20, image.length).expect("it fits");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..DRAWS)
        .map(|_| Places::choose(&physical, image, 4096, false, Placement::Random, &mut random))
        .collect()
}

type Place = fn(&Places) -> u64;

/// What is placed, by name.
const PLACED: [(&str, Place); 4] = [
    ("image", |places| places.image.start),
    ("stack", |places| places.stack.start),
    ("heap", |places| places.heap.start),
    ("system", |places| places.system.start),
];

#[test]
fn each_place_has_at_least_24_random_bits() {
    let draws = draws();
    for (name, address) in PLACED {
        let bits = varying(draws.iter().map(address));
        assert!(bits >= LEAST_BITS, "{name}: {bits} bits");
    }
}

#[test]
fn no_two_starts_have_a_place_in_common() {
    let draws = draws();
    for (name, address) in PLACED {
        let different: HashSet<u64> = draws.iter().map(address).collect();
        assert_eq!(different.len(), DRAWS, "{name}");
    }
}

#[test]
fn places_do_not_tell_of_each_other() {
    let draws = draws();
    for (name, address) in PLACED {
        for (other, base) in PLACED.into_iter().filter(|(other, _)| *other != name) {
            let bits = varying(draws.iter().map(|places| address(places).wrapping_sub(base(places))));
            assert!(bits >= LEAST_BITS, "{name} from {other}: {bits} bits");
        }
    }
}

#[test]
fn places_never_overlap_and_never_hold_the_zero_page() {
    for places in draws() {
        let whole_image = Extent { start: places.boot, length: places.image.end() - places.boot };
        let mut all = [whole_image, places.stack, places.heap, places.system];
        all.sort_by_key(|place| place.start);
        assert!(all[0].start > 4096, "{places:x?}");
        assert!(all.windows(2).all(|pair| pair[0].end() < pair[1].start), "{places:x?}");
        assert!(all[3].end() <= 1 << 47, "{places:x?}");
    }
}

#[test]
fn the_stack_pointer_starts_at_a_random_place_within_its_page() {
    let skips: HashSet<u64> = draws().iter().map(|places| places.stack_skip).collect();
    assert!(skips.len() > DRAWS / 2 && skips.iter().all(|skip| skip % 16 == 0));
}

#[test]
fn fixed_places_are_the_same_at_every_start() {
    if no_kvm() {
        return;
    }
    let places = || booted("touch", &[], Placement::Fixed, |instance| *instance.places());
    assert_eq!(places(), places());
}

#[test]
fn a_guest_finds_its_code_stack_and_heap_elsewhere_at_every_start() {
    if no_kvm() {
        return;
    }
    const STARTS: usize = 60;
    let mut found: [Vec<u64>; 3] = Default::default();
    for _ in 0..STARTS {
        // The address that the code was called from lies in the image.
        let registers = run(code!("mov rax, [rsp]")).registers();
        for (list, address) in found.iter_mut().zip([registers.rax, registers.rsp, registers.rdi]) {
            list.push(address / LARGE_PAGE);
        }
    }
    for (name, addresses) in ["image", "stack", "heap"].into_iter().zip(&found) {
        let bits = varying(addresses.iter().copied());
        assert!(bits >= LEAST_BITS, "{name}: {bits} bits above the large page");
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), STARTS, "{name}");
    }
}
