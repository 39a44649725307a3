//! The attribute macros of the `coracle` crate.

mod handler_function;
mod main_function;
mod program;

use handler_function::Attribute;
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

/// Makes a function the program's handler: it is called once for each input, each time in a machine that
/// no other call has touched.
///
/// ```ignore
/// #[coracle::handler] // the crate `coracle` is not a dependency of its own macros
/// fn shout(input: &[u8]) -> impl Into<Vec<u8>> {
///     input.to_ascii_uppercase()
/// }
/// ```
///
/// The function takes
///
/// - bytes, `&[u8]` or `&mut [u8]`: the input where it lies. It returns what turns into a `Vec<u8>`, or a
///   reference to bytes or text, which is taken from where it lies;
/// - or a value, whose type has `serde::Deserialize` and may borrow from the input: `fn f(order: Order<'_>)
///   -> Receipt`. It returns what has `serde::Serialize`. Input and output are JSON. This needs the
///   feature `json`.
///
/// Either may return a `Result`, under that name, whose error is `Display`: then the call has failed, and
/// the error's text is the reason.
///
/// With `init = function`, that function is called before, once for however many calls there are, and
/// where the program says that it is ready. What it returns the handler takes as `&` or `&mut` before its
/// input; a handler that takes its input alone has no use for it.
///
/// ```ignore
/// #[coracle::handler(init = Templates::load)]
/// fn page(templates: &Templates, visitor: Visitor) -> Result<Page, Error> {
///     templates.page(visitor)
/// }
/// ```
///
/// The rest is as with `main`: `#![no_std]`, `#![no_main]`, panic handler and global allocator, and
/// `test = false` in the manifest. `coracle run` gives such a program its standard input as the input, and
/// writes the output to its standard output.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler_function::expand(Attribute::Handler, arguments.into(), item.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// Makes a function the program's handler of HTTP requests: it takes a `coracle::http::Request` and
/// returns a `coracle::http::Response`, a body, or a `Result` of these whose error is `Display`. Needs the
/// feature `http`.
///
/// ```ignore
/// #[coracle::http]
/// fn echo(request: Request) -> Response {
///     Response::new(request.into_body())
/// }
/// ```
///
/// All else is as with `handler`, `init = function` too.
#[proc_macro_attribute]
pub fn http(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler_function::expand(Attribute::Http, arguments.into(), item.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
