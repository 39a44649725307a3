//! The attribute macros of the `coracle` crate.

mod main_function;

use proc_macro::TokenStream;

/// Makes a function the program's `main`.
///
/// The function takes nothing and returns nothing, an `ExitCode`, or a `Result` of these. The
/// program is `#![no_std]` and `#![no_main]`; the macro also gives it its panic handler and its
/// global allocator.
///
/// Cargo's test harness needs `std`, whose symbols clash with those of this crate. So a package says
/// `test = false` for such a program (under `[[bin]]`, with its `name`), and `cargo test` leaves it
/// out. What is to be tested goes into a library that does not depend on `coracle`.
///
/// ```ignore
/// #[coracle::main] // the crate `coracle` is not a dependency of its own macros
/// fn main() -> Result<(), Error> {
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_function::expand(arguments.into(), item.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
