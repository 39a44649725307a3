//! What the program that runs guests in processes does, or has done to it, and the guests withstand.

use crate::child::Running;
use crate::library::alone;
use crate::not_run::not_run;
use crate::support::{example, guest, process_host, run};
use coracle_tender::calls::Console;
use coracle_tender::image::Image;
use coracle_tender::instance::{Config, End, Instance};
use coracle_tender::machine::Dead;
use coracle_tender::process::{Host, let_cpuid_trap};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Boots a guest in a process.
fn boot(name: &str, argument: &str) -> Instance {
    let image = Arc::new(Image::open(&guest(name)).expect("the guest is an image"));
    let arguments = [name, argument].map(OsString::from).to_vec();
    Instance::boot(&process_host(), &image, &Config { arguments, ..Config::default() })
        .expect("the guest boots")
}

/// Runs a guest without input or output.
fn ends(instance: &mut Instance, limit: Duration) -> End {
    let null = File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    instance.run(&Console::new(null.as_fd(), null.as_fd(), null.as_fd()), &mut |_| (), Some(limit))
}

#[test]
fn a_tender_that_is_sent_a_segmentation_fault_ends_by_it() {
    let mut command = run::<&str>(&["--backend", "process"], example("release", "cat"), &[]);
    let running = Running::start(command.stdin(Stdio::piped()).stderr(Stdio::null()));
    running.wait_until(crate::child::Blocked::Reading);
    running.signal(libc::SIGSEGV);
    let status = running.ended();
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}

#[test]
fn cpuid_works_after_a_segmentation_fault_that_was_sent() {
    alone("process_parents::cpuid_works_after_a_segmentation_fault_that_was_sent", || {
        if !Host::cpuid_is_hidden() {
            not_run("the CPU cannot have cpuid trap");
            return;
        }
        let_cpuid_trap();
        let mut instance = boot("exit_with", "7");
        // The handler of the standard library takes the first one for a fault, and gives way to the default.
        // SAFETY: the call takes a number alone.
        assert_eq!(unsafe { libc::raise(libc::SIGSEGV) }, 0);
        assert!(std::arch::x86_64::__cpuid(0).eax > 0);
        let end = ends(&mut instance, Duration::from_secs(60));
        assert!(matches!(end, End::Exited(7)), "{end:?}");
    });
}

#[test]
fn a_guest_whose_stops_another_thread_waits_for_ends_with_words() {
    alone("process_parents::a_guest_whose_stops_another_thread_waits_for_ends_with_words", || {
        let mut instance = boot("forever", "call");
        let is_over = AtomicBool::new(false);
        let end = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // SAFETY: no status is asked for.
                    unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
                }
            });
            let end = ends(&mut instance, Duration::from_secs(2));
            is_over.store(true, Ordering::Relaxed);
            end
        });
        assert!(matches!(end, End::Dead(Dead::Reaped)), "{end:?}");
        assert!(Dead::Reaped.to_string().contains("waitpid(-1)"));
    });
}
