//! What the page tables say, read from the guest's memory before it starts and after it has ended.

use super::code::{code, run};
use super::machine::{Ran, booted, mapped};
use crate::support::no_kvm;
use coracle_hypercall::memory::{PAGE, Rights};
use coracle_tender::layout::{BOOT, PAGE_TABLES, Placement, Places};
use coracle_tender::paging::Leaf;
use std::collections::HashMap;

/// Page tables of several kinds of guests, with the places they belong to.
fn examples() -> Vec<(String, Places, Vec<Leaf>)> {
    let mut all = Vec::new();
    for name in ["touch", "run_code"] {
        let (places, leaves) =
            booted(name, &[], Placement::Random, |instance| (*instance.places(), mapped(instance)));
        all.push((format!("{name} before it starts"), places, leaves));
    }
    let ways = ["read-guard", "stack-guard", "give-back", "large-pages", "alternating", "write-and-execute"];
    for way in ways {
        let ran = Ran::of("change_rights", &[way], Placement::Random);
        all.push((format!("change_rights {way}"), ran.places, ran.leaves));
    }
    let ran = run(code!("nop"));
    all.push(("run_code after it has made code".to_owned(), ran.places, ran.leaves));
    all
}

fn each(claim: impl Fn(&str, &Places, &[Leaf])) {
    if no_kvm() {
        return;
    }
    for (name, places, leaves) in examples() {
        assert!(leaves.len() > 20, "{name}");
        claim(&name, &places, &leaves);
    }
}

#[test]
fn no_page_is_writable_and_executable() {
    each(|name, _, leaves| {
        for leaf in leaves {
            assert!(!leaf.translation.rights.contains(Rights::WRITE | Rights::EXECUTE), "{name}: {leaf:x?}");
        }
    });
}

#[test]
fn no_memory_is_writable_at_one_address_and_executable_at_another() {
    each(|name, _, leaves| {
        let mut seen: HashMap<u64, Rights> = HashMap::new();
        for leaf in leaves {
            for offset in (0..leaf.size).step_by(PAGE as usize) {
                let rights = seen.entry(leaf.translation.physical + offset).or_insert(Rights::empty());
                *rights |= leaf.translation.rights;
                assert!(!rights.contains(Rights::WRITE | Rights::EXECUTE), "{name}: {leaf:x?}");
            }
        }
    });
}

#[test]
fn no_memory_is_at_two_addresses() {
    each(|name, _, leaves| {
        let mut seen = HashMap::new();
        for leaf in leaves {
            for offset in (0..leaf.size).step_by(PAGE as usize) {
                let other = seen.insert(leaf.translation.physical + offset, leaf.address + offset);
                assert_eq!(other, None, "{name}: {leaf:x?}");
            }
        }
    });
}

#[test]
fn the_system_place_is_for_cpl_0_alone_and_all_else_is_not() {
    each(|name, places, leaves| {
        for leaf in leaves {
            assert_eq!(leaf.translation.user, !places.system.contains(leaf.address), "{name}: {leaf:x?}");
        }
    });
}

#[test]
fn no_page_of_the_guest_leads_to_tables_or_stub() {
    each(|name, places, leaves| {
        let user_pages = BOOT..PAGE_TABLES;
        for leaf in leaves.iter().filter(|leaf| leaf.translation.user) {
            let start = leaf.translation.physical;
            let end = start + leaf.size;
            let within = user_pages.contains(&start) && end <= user_pages.end;
            assert!(within || start >= places.system.length, "{name}: {leaf:x?}");
        }
    });
}

#[test]
fn every_page_lies_in_the_place_that_has_its_rights() {
    each(|name, places, leaves| {
        for leaf in leaves {
            let end = leaf.address + leaf.size;
            let all = [places.image, places.stack, places.heap, places.system];
            let own = (places.boot..places.boot + 2 * PAGE).contains(&leaf.address);
            let whole = all.iter().any(|place| place.contains(leaf.address) && end <= place.end());
            assert!(own || whole, "{name}: {leaf:x?}");
        }
    });
}
