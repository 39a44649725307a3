//! What Coracle takes: of the disk for an image, of memory for a waiting guest.

use crate::bench::experiment::{Experiment, Goal, Measure};
use crate::bench::number::Unit;
use crate::bench::process::while_waiting;
use crate::bench::programs::Programs;
use crate::here::Backend;
use crate::shell::Context;

pub(super) fn experiments(programs: &Programs) -> [Experiment<'_>; 2] {
    let mut size = Experiment::new("size", 1);
    let file = &programs.hello_stripped;
    let hello = size.subject("hello", Unit::Bytes, move || {
        let data = std::fs::metadata(file).context(|| file.display().to_string())?;
        Ok(data.len() as f64)
    });
    for &backend in &programs.backends {
        let goal = Goal::AtMost(16.0 * 1024.0);
        size.row(backend, "hello's image, stripped release", hello, Measure::Value, goal);
    }

    let mut memory = Experiment::new("memory", 1);
    for &backend in &programs.backends {
        let tender = memory.subject("tender", Unit::Bytes, move || {
            // An amount that no other mapping has, to know the guest's by.
            while_waiting(programs.boot(backend, &["--mem", "200M"], &programs.cat, &[]), |child| {
                let file = format!("/proc/{}/smaps", child.id());
                let smaps = std::fs::read_to_string(&file).context(|| file)?;
                Ok((resident_beside_largest(&mappings(&smaps)) * 1024) as f64)
            })
        });
        let goal = match backend {
            Backend::Kvm => Goal::AtMost(4.0 * 1024.0 * 1024.0),
            Backend::Process => Goal::None,
        };
        memory.row(backend, "tender's memory beside the guest's", tender, Measure::Value, goal);
    }
    [size, memory]
}

/// A line of `smaps` that begins a mapping, with what is resident of it.
#[derive(Debug, PartialEq)]
struct Mapping {
    start: u64,
    end: u64,
    name: String,
    resident_kib: u64,
}

fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let range = first.split_once('-').and_then(|(start, end)| {
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        });
        if let Some((start, end)) = range {
            let name = words.skip(3).collect::<Vec<_>>().join(" ");
            mappings.push(Mapping { start, end, name, resident_kib: 0 });
        } else if first == "Rss:"
            && let (Some(mapping), Some(Ok(kib))) = (mappings.last_mut(), words.next().map(str::parse))
        {
            mapping.resident_kib = kib;
        }
    }
    mappings
}

/// The resident KiB of all mappings but the largest, which is the guest's memory. The kernel splits
/// that where advice differs: what adjoins it and has the same file is a part of it.
fn resident_beside_largest(mappings: &[Mapping]) -> u64 {
    let length = |mapping: &Mapping| mapping.end - mapping.start;
    let Some(largest) = (0..mappings.len()).max_by_key(|&index| length(&mappings[index])) else { return 0 };
    let joined = |index: usize| {
        let (below, above) = (&mappings[index], &mappings[index + 1]);
        below.end == above.start && below.name == above.name
    };
    let mut guest = largest..largest + 1;
    while guest.start > 0 && joined(guest.start - 1) {
        guest.start -= 1;
    }
    while guest.end < mappings.len() && joined(guest.end - 1) {
        guest.end += 1;
    }
    let others = mappings.iter().enumerate().filter(|(index, _)| !guest.contains(index));
    others.map(|(_, mapping)| mapping.resident_kib).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
00400000-00500000 r-xp 00000000 08:01 77 /usr/bin/coracle
Size:               1024 kB
Rss:                 700 kB
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
Rss:                  20 kB
7f0000200000-7f000c800000 rw-p 00000000 00:00 0
Rss:                4096 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
Rss:                  16 kB
";

    #[test]
    fn the_guests_memory_is_the_largest_mapping_with_what_adjoins_it() {
        let mappings = mappings(SMAPS);
        assert_eq!(mappings.len(), 4);
        assert_eq!(mappings[3].resident_kib, 16);
        assert_eq!(resident_beside_largest(&mappings), 716);
    }
}
