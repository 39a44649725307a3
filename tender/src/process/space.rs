//! What of the guest's memory lies where in its address space, by its page tables.

use crate::memory::{Memory, OutOfMemory};
use crate::paging::{entry_span, from_bits, rights_of};
use coracle_hypercall::memory::{PAGE, Rights};
use x86_64::structures::paging::page_table::PageTableFlags;

/// A run of pages that follow each other in both memories and have the same rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) address: u64,
    pub(super) physical: u64,
    pub(super) length: u64,
    pub(super) rights: Rights,
}

impl Run {
    fn end(&self) -> u64 {
        self.address + self.length
    }

    /// As mmap(2) takes rights. No page is writable and executable, for no table says so.
    pub(super) fn protection(&self) -> libc::c_int {
        let mut protection = libc::PROT_NONE;
        for (right, bit) in [
            (Rights::READ, libc::PROT_READ),
            (Rights::WRITE, libc::PROT_WRITE),
            (Rights::EXECUTE, libc::PROT_EXEC),
        ] {
            if self.rights.contains(right) {
                protection |= bit;
            }
        }
        protection
    }
}

/// Lists what the tables under `root` let a program at CPL 3 reach, in ascending order: pages that were made
/// inaccessible too.
pub(super) fn of(memory: &Memory, root: u64) -> Result<Vec<Run>, OutOfMemory> {
    let mut runs = Vec::new();
    table(memory, root, 4, 0, &mut runs)?;
    Ok(runs)
}

fn table(memory: &Memory, at: u64, level: u8, base: u64, runs: &mut Vec<Run>) -> Result<(), OutOfMemory> {
    let mut bytes = [0; PAGE as usize];
    memory.read(at, &mut bytes)?;
    let (entries, _) = bytes.as_chunks::<8>();
    for (index, bits) in (0..).zip(entries).map(|(index, bits)| (index, u64::from_le_bytes(*bits))) {
        if bits == 0 {
            continue;
        }
        let entry = from_bits(bits);
        let (flags, physical) = (entry.flags(), entry.addr().as_u64());
        let address = base + index * entry_span(level);
        let present = flags.contains(PageTableFlags::PRESENT);
        if present && !flags.contains(PageTableFlags::USER_ACCESSIBLE) {
            continue;
        }
        let leaf = level == 1 || !present || flags.contains(PageTableFlags::HUGE_PAGE);
        if !leaf {
            table(memory, physical, level - 1, address, runs)?;
        } else if level <= 2 {
            let there = physical < memory.end();
            let rights = if there { rights_of(flags) } else { Rights::empty() };
            add_cut(runs, Run { address, physical, length: entry_span(level), rights }, memory.end());
        }
    }
    Ok(())
}

/// Adds a run, of which nothing can be reached from the guest-physical address `end` on.
fn add_cut(runs: &mut Vec<Run>, run: Run, end: u64) {
    let before = end.saturating_sub(run.physical).min(run.length);
    if before == 0 || before == run.length {
        add(runs, run);
        return;
    }
    add(runs, Run { length: before, ..run });
    let (address, physical) = (run.address + before, run.physical + before);
    add(runs, Run { address, physical, length: run.length - before, rights: Rights::empty() });
}

/// Adds a run to the last where it continues that.
pub(super) fn add(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last)
            if last.end() == run.address
                && last.physical + last.length == run.physical
                && last.rights == run.rights =>
        {
            last.length += run.length;
        }
        _ => runs.push(run),
    }
}

/// The runs, or parts of them, that have other rights than before.
pub(super) fn changed(before: &[Run], after: &[Run]) -> Vec<Run> {
    let mut changes = Vec::new();
    let mut old = before.iter().peekable();
    for run in after {
        let mut at = run.address;
        while at < run.end() {
            while old.peek().is_some_and(|old| old.end() <= at) {
                old.next();
            }
            let Some(here) = old.peek() else { break };
            let stop = here.end().min(run.end());
            if here.rights != run.rights && here.address <= at {
                let part = Run {
                    address: at,
                    physical: run.physical + (at - run.address),
                    length: stop - at,
                    ..*run
                };
                add(&mut changes, part);
            }
            at = stop;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::{Run, changed};
    use coracle_hypercall::memory::{PAGE, Rights};

    fn run(address: u64, pages: u64, rights: Rights) -> Run {
        Run { address: address * PAGE, physical: address * PAGE, length: pages * PAGE, rights }
    }

    #[test]
    fn only_what_has_other_rights_is_changed() {
        let (none, read) = (Rights::empty(), Rights::READ);
        let before = [run(1, 2, read), run(8, 8, read)];
        assert_eq!(changed(&before, &before), []);
        let after = [run(1, 2, read), run(8, 2, read), run(10, 1, none), run(11, 5, read)];
        assert_eq!(changed(&before, &after), [run(10, 1, none)]);
        assert_eq!(changed(&after, &before), [run(10, 1, read)]);
        assert_eq!(changed(&before, &[run(1, 2, none), run(8, 8, none)]), [run(1, 2, none), run(8, 8, none)]);
    }
}
