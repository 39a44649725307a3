//! From the first instruction to `main`.
//!
//! The host's own `crt1.o` brings `_start`, which calls `__libc_start_main` as it does in every C
//! program; that is in [`relocate`] and calls [`start`]. So an ordinary `cargo build` makes an image. A custom target without `crt1.o` gets its
//! `_start` from here too.

mod arguments;
mod constructors;
#[cfg(target_os = "none")]
mod entry;
mod hop;
mod linux;
mod path;
mod relocate;
mod tls;

use crate::{boot, call, env, process};
pub(crate) use arguments::ArgumentBlock;
use coracle_hypercall::boot::{AT_CORACLE, BootInfo};
use core::ffi::{c_char, c_int};
pub(crate) use tls::{set_canary, thread};

type Main = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) -> c_int;

/// The first Rust code that runs.
///
/// # Safety
/// Called once, with what the System V ABI puts on the stack of a new process.
unsafe extern "C" fn start(main: Main, argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let block = unsafe { ArgumentBlock::new(argc, argv) };
    let Some(info) = block.auxiliary(AT_CORACLE) else { hop::hop(&block) };
    let info = core::ptr::with_exposed_provenance::<BootInfo>(info as usize);
    // SAFETY: only a tender makes this entry, and it keeps the contract: the boot information
    // stays and is read-only, its entry is the entry page, its TLS fields describe this image.
    unsafe {
        boot::set(info);
        call::set_entry(core::ptr::with_exposed_provenance_mut((*info).entry.0 as usize));
        tls::install(&*info);
    }
    env::set(&block);
    // SAFETY: the linker's list, before `main`.
    unsafe { constructors::run(argc, argv, block.environment) };
    // SAFETY: `main` is the program's, and these are its arguments.
    let status = unsafe { main(argc, argv, block.environment) };
    process::exit(status)
}
