//! The guest side of Coracle: add this dependency, and your program boots as a virtual machine of
//! its own.
//!
//! ```no_run
//! #![no_std]
//! #![no_main]
//!
//! #[coracle::main]
//! fn main() {
//!     coracle::println!("Hello from a machine of my own");
//! }
//! ```
//!
//! The program's profiles need `panic = "abort"`, and nothing else is needed: `cargo run` starts
//! the machine. There is no operating system in it. The program is the only thing that runs, and
//! reaches the outside world through this crate alone.
//!
//! | module | what it is for |
//! |---|---|
//! | [`io`] | standard input, output and error; [`print!`], [`println!`], [`eprint!`], [`eprintln!`], [`dbg!`] |
//! | [`env`](mod@env) | arguments and environment |
//! | [`process`] | ending the program |
//! | [`time`] | clocks and sleep |
//! | [`event`] | waiting for input, Ctrl-C and the like |
//! | [`instance`] | what one of many runs is, and what is fresh in it |
//! | [`host`] | functions of the host |
//! | `http` | requests and responses (feature `http`) |
//! | [`random`] | random bytes |
//! | [`log`](mod@log) | the `log` facade |
//! | [`heap`] | the global allocator and its numbers |
//! | [`memory`] | rights on the program's own memory |
//! | [`call`] | the calls to the tender that all of it is made of |
#![no_std]

extern crate alloc;

pub mod call;
pub mod env;
pub mod event;
#[doc(hidden)]
pub mod handler;
pub mod heap;
pub mod host;
#[cfg(feature = "http")]
pub mod http;
pub mod instance;
pub mod io;
pub mod log;
pub mod memory;
pub mod panic;
pub mod process;
pub mod random;
pub mod time;

mod boot;
mod note;
mod start;
mod symbols;
mod sync;

pub use coracle_hypercall as hypercall;
#[cfg(feature = "http")]
pub use coracle_macros::http;
pub use coracle_macros::{handler, main};
pub use instance::{on_resume, ready};
pub use process::ExitCode;
