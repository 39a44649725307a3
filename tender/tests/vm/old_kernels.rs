//! Kernels that lack something that the tender needs: it is refused by name. A filter of system calls makes
//! such a kernel out of this one.

use crate::scratch::Scratch;
use crate::support::{coracle, example, no_kvm_for, output, run, stderr};
use coracle_hypercall::exit;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `KVM_CHECK_EXTENSION`, which tells of capabilities.
const CHECK_EXTENSION: u32 = 0xae03;
/// `KVM_ENABLE_CAP`, which switches one on.
const ENABLE_CAP: u32 = 0x4068_aea3;

/// Lets this request end at once in a command, with this error or, for 0, with 0.
fn without(command: &mut Command, request: u32, error: i32) -> &mut Command {
    // SAFETY: between fork and exec this only makes two system calls.
    unsafe { command.pre_exec(move || forbid(request, error)) }
}

fn forbid(request: u32, error: i32) -> io::Result<()> {
    let jump_unless = |value: u32, skip: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip,
        k: value,
    };
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let mut program = [
        // The call's number, and the lower half of its second argument (`struct seccomp_data`).
        statement(load, 0),
        jump_unless(libc::SYS_ioctl as u32, 3),
        statement(load, 24),
        jump_unless(request, 1),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is a local that the kernel copies.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn a_kernel_without_registers_in_the_shared_page_is_refused_by_the_capabilitys_name() {
    if no_kvm_for("what it lacks") {
        return;
    }
    let mut command = run::<&str>(&["--backend", "kvm"], example("stripped", "hello"), &[]);
    without(&mut command, CHECK_EXTENSION, 0);
    let ended = output(command);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
    assert!(said.contains("KVM_CAP_SYNC_REGS") && said.contains("Linux 4.17"), "{said}");
}

#[test]
fn a_kernel_whose_log_of_written_pages_cannot_be_kept_refuses_snapshots_by_the_capabilitys_name() {
    if no_kvm_for("its log of written pages") {
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("snapshot");
    let mut take = Command::new(coracle());
    take.args(["snapshot", "--quiet", "-o"]).arg(&file).arg(example("release", "handler-echo"));
    let taken = output(take);
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    let mut command = Command::new(coracle());
    command.arg("invoke").arg(&file);
    without(command.stdin(std::process::Stdio::null()), ENABLE_CAP, libc::EINVAL);
    let ended = output(command);
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(exit::TENDER.into()), "{said}");
    assert!(said.contains("KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2") && said.contains("Linux 5.2"), "{said}");
    // What needs no log runs all the same.
    let mut command = run::<&str>(&[], example("stripped", "hello"), &[]);
    without(&mut command, ENABLE_CAP, libc::EINVAL);
    assert_eq!(output(command).status.code(), Some(0));
}
