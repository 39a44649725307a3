//! Signals that others send to the process of a guest mean nothing, whatever the tender is doing there.

use super::code::{Code, bytes, code, hexadecimal};
use super::machine::{INVALID_OPCODE, booted_on, run_to_end};
use crate::lane::{give_way, times};
use crate::support::process_host;
use coracle_tender::instance::End;
use coracle_tender::layout::Placement;
use coracle_tender::report::Fault;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs code while another thread sends its process every signal of the CPU, again and again, at least some
/// before it ends.
fn bombarded(code: Code) -> Fault {
    let arguments = [hexadecimal(&bytes(code))];
    booted_on(&process_host(), "run_code", &[&arguments[0]], Placement::Random, |instance| {
        // SAFETY: the call has no preconditions.
        let thread = unsafe { libc::gettid() };
        let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).expect("children");
        let child: i32 = children.trim().parse().expect("one child");
        let is_over = AtomicBool::new(false);
        let end = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
                        // SAFETY: the number is that of a child that is not waited for before this thread ends.
                        assert_eq!(unsafe { libc::kill(child, signal) }, 0);
                    }
                    give_way();
                }
            });
            let end = run_to_end(instance);
            is_over.store(true, Ordering::Relaxed);
            end
        });
        let End::Faulted(fault) = end else { panic!("it ends otherwise: {end:x?}") };
        fault
    })
}

#[test]
fn signals_of_the_cpu_that_are_sent_while_the_tender_changes_rights_mean_nothing() {
    for _ in 0..times(10, 1) {
        // Takes the right to write from a page and gives it back, a hundred times.
        let fault = bombarded(code!(
            "mov r12, rdi",
            "mov r13d, 100",
            "2: mov edi, 9",
            "mov rsi, r12",
            "mov edx, 0x1000",
            "mov ecx, 1",
            "out 0x10, eax",
            "mov edi, 9",
            "mov rsi, r12",
            "mov edx, 0x1000",
            "mov ecx, 3",
            "out 0x10, eax",
            "dec r13d",
            "jnz 2b",
            "mov r15d, 0x15",
        ));
        assert_eq!((fault.vector, fault.registers.r15), (INVALID_OPCODE, 0x15), "{fault:x?}");
    }
}

#[test]
fn signals_of_the_cpu_that_are_sent_while_the_tender_looks_at_a_fault_do_not_change_it() {
    for _ in 0..times(20, 3) {
        let fault = bombarded(code!("mov ecx, 100000", "2: dec ecx", "jnz 2b", "mov rax, [0x1238]"));
        assert_eq!((fault.vector, fault.address, fault.error_code), (14, 0x1238, 4), "{fault:x?}");
    }
}
