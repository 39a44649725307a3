//! Registers of a guest that was stopped anywhere: what a scheduler of programs within one will build on.

use super::{Config, Instance};
use crate::calls::Console;
use crate::image::Image;
use crate::machine::{Backend, Exit, Host, Kicker, Machine, Reachable};
use crate::registers::Registers;
use coracle_hypercall::call::Call;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A guest that computes for ever and was stopped while it did, where there is such a backend and the guest.
fn stopped(backend: Backend) -> Option<Instance> {
    let not_run = |reason: &dyn std::fmt::Display| eprintln!("NOT RUN on {backend:?}: {reason}");
    let Some(directory) = std::env::var_os("CORACLE_TEST_DIR") else {
        not_run(&"its guest is built by cargo xtask test");
        return None;
    };
    let host = Host::open(backend).inspect_err(|error| not_run(error)).ok()?;
    let path = Path::new(&directory).join("guests/release/forever");
    let image = Arc::new(Image::open(&path).expect("an image"));
    let arguments = ["forever", "compute"].map(Into::into).to_vec();
    let config = Config { arguments, ..Config::default() };
    let mut instance = Instance::boot(&host, &image, &config).expect("it boots");
    let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let console = Console::new(null.as_fd(), null.as_fd(), null.as_fd());
    instance.run(&console, &mut |_| (), Some(Duration::from_millis(200)));
    Some(instance)
}

/// Where the guest is after it has run for about so long.
fn stopped_after(instance: &mut Instance, time: Duration) -> Registers {
    let kicker = Kicker::of_this_thread().expect("a timer");
    let _reachable = Reachable::new();
    let _aim = instance.machine.aim();
    kicker.once(time);
    assert_eq!(instance.machine.run(), Exit::Kicked);
    kicker.disarm();
    instance.machine.registers()
}

/// What the guest comes back for when it goes on with these registers.
fn goes_on_with(instance: &mut Instance, registers: &Registers) -> Exit {
    let _reachable = Reachable::new();
    let _aim = instance.machine.aim();
    instance.machine.set_registers(registers);
    match instance.machine.run() {
        // One that was on its way when the timer was disarmed.
        Exit::Kicked => instance.machine.run(),
        exit => exit,
    }
}

#[test]
fn a_guest_that_was_stopped_anywhere_goes_on_with_the_registers_that_it_is_given() {
    for backend in [Backend::Kvm, Backend::Process] {
        let Some(mut instance) = stopped(backend) else { continue };
        let entry_page = instance.tables.entry_page;
        for round in 1..30 {
            let before = stopped_after(&mut instance, Duration::from_micros(300 * round));
            let number = Call::Nothing as u64;
            let other =
                Registers { rip: entry_page, rdi: number, rsi: round, rdx: 2, rcx: 3, r8: 4, ..before };
            assert_eq!(goes_on_with(&mut instance, &other), Exit::Hypercall, "{backend:?}");
            assert_eq!(instance.machine.call(), [number, round, 2, 3, 4], "{backend:?}");
            // The call is never answered: what it interrupted goes on.
            instance.machine.set_registers(&before);
            let after = stopped_after(&mut instance, Duration::from_millis(2));
            assert_eq!(after.rsp, before.rsp, "{backend:?}: it computes without a stack");
            assert_ne!(after.rip & !0xfff, entry_page, "{backend:?}");
        }
    }
}

#[test]
fn registers_of_a_fault_are_those_that_the_guest_was_given() {
    for backend in [Backend::Kvm, Backend::Process] {
        let Some(mut instance) = stopped(backend) else { continue };
        let before = stopped_after(&mut instance, Duration::from_millis(1));
        let nowhere = Registers { rip: 0x10, rax: 7, r15: 0x1234, ..before };
        let Exit::Fault { vector } = goes_on_with(&mut instance, &nowhere) else {
            panic!("{backend:?}: it has gone on")
        };
        let fault = instance.machine.fault(vector).expect("a fault of the guest's");
        assert_eq!((fault.address, fault.registers.rip), (0x10, 0x10), "{backend:?}");
        assert_eq!((fault.registers.rax, fault.registers.r15), (7, 0x1234), "{backend:?}");
    }
}
