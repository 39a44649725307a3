//! Guests in this process.

use crate::support::{guest, host, process_host};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::layout::{Placement, Places};
use coracle_tender::machine::Host;
use coracle_tender::paging::{Leaf, leaves};
use coracle_tender::registers::Registers;
use coracle_tender::report::Fault;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// After this time a guest counts as one that hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The vectors of exceptions.
pub(super) const DEBUG: u8 = 1;
pub(super) const BREAKPOINT: u8 = 3;
pub(super) const OVERFLOW: u8 = 4;
pub(super) const INVALID_OPCODE: u8 = 6;
pub(super) const STACK: u8 = 12;
pub(super) const GENERAL_PROTECTION: u8 = 13;
pub(super) const PAGE_FAULT: u8 = 14;

/// A guest that has come to its end.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    pub(super) places: Places,
    /// What its page tables mapped at its end.
    pub(super) leaves: Vec<Leaf>,
    /// The first bytes of the page that rdi pointed to at its end, where it could read them.
    pub(super) buffer: Vec<u8>,
}

/// Boots a test guest and hands it to `with` before its first instruction.
pub(super) fn booted<R>(
    name: &str,
    arguments: &[&str],
    placement: Placement,
    with: impl FnOnce(&mut Instance) -> R,
) -> R {
    booted_on(&host(), name, arguments, placement, with)
}

/// The same on this host.
pub(super) fn booted_on<R>(
    host: &Host,
    name: &str,
    arguments: &[&str],
    placement: Placement,
    with: impl FnOnce(&mut Instance) -> R,
) -> R {
    let image = Arc::new(Image::open(&guest(name)).expect("the guest is an image"));
    let arguments = [name].iter().chain(arguments).map(OsString::from).collect();
    let config = Config { arguments, placement, ..Config::default() };
    let mut instance = Instance::boot(host, &image, &config).expect("the guest boots");
    with(&mut instance)
}

/// What the page tables of a guest map.
pub(super) fn mapped(instance: &Instance) -> Vec<Leaf> {
    leaves(&instance.guest().memory(), instance.page_table_root()).expect("tables lie in memory")
}

/// Runs a guest to its end without input or output.
pub(super) fn run_to_end(instance: &mut Instance) -> End {
    let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    instance.run(&Console::new(null.as_fd(), null.as_fd(), null.as_fd()), &mut |_| (), Some(LIMIT))
}

impl Ran {
    /// Boots a test guest and runs it to its end.
    pub(super) fn of(name: &str, arguments: &[&str], placement: Placement) -> Ran {
        Ran::on(&host(), name, arguments, placement)
    }

    /// The same in a process.
    pub(super) fn in_process(name: &str, arguments: &[&str]) -> Ran {
        Ran::on(&process_host(), name, arguments, Placement::Random)
    }

    /// The same on this host.
    pub(super) fn on(host: &Host, name: &str, arguments: &[&str], placement: Placement) -> Ran {
        booted_on(host, name, arguments, placement, |instance| {
            let end = run_to_end(instance);
            let mut buffer = vec![0; 4096];
            let at = match &end {
                End::Faulted(fault) => fault.registers.rdi,
                _ => 0,
            };
            if !instance.guest().try_read(at, &mut buffer) {
                buffer.clear();
            }
            Ran { end, places: *instance.places(), leaves: mapped(instance), buffer }
        })
    }

    /// The fault that it ended with.
    #[track_caller]
    pub(super) fn fault(&self) -> Fault {
        match &self.end {
            End::Faulted(fault) => *fault,
            other => panic!("the guest ended with {other:x?} and not with a fault"),
        }
    }

    /// The registers of a guest that came to the end of its code.
    #[track_caller]
    pub(super) fn registers(&self) -> Registers {
        let fault = self.fault();
        assert_eq!(fault.vector, INVALID_OPCODE, "ended before its code did: {fault:x?}");
        fault.registers
    }

    /// A 64-bit value of the buffer.
    pub(super) fn word(&self, offset: usize) -> u64 {
        let bytes = self.buffer.get(offset..offset + 8).expect("the buffer could be read");
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
}
