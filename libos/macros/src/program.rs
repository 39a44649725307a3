//! What every program of the attribute macros has.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, Result, Signature};

/// Refuses a function that nobody could call as `what`.
pub(crate) fn check(what: &str, signature: &Signature) -> Result<()> {
    let refused: [(Option<&dyn ToTokens>, &str); 5] = [
        (signature.asyncness.as_ref().map(|it| it as _), "cannot be async: there is no executor to run it"),
        (signature.constness.as_ref().map(|it| it as _), "cannot be const"),
        (signature.unsafety.as_ref().map(|it| it as _), "cannot be unsafe"),
        (signature.abi.as_ref().map(|it| it as _), "cannot have an ABI of its own"),
        (signature.generics.lt_token.as_ref().map(|_| &signature.generics as _), "cannot be generic"),
    ];
    for (part, reason) in refused {
        if let Some(part) = part {
            return Err(Error::new_spanned(part, format!("`{what}` {reason}")));
        }
    }
    Ok(())
}

/// What an image needs and only the program itself can have. `run` never returns.
pub(crate) fn support(run: &TokenStream) -> TokenStream {
    quote! {
        // `cargo test` cannot link this program, see `main`. But editors and `cargo clippy
        // --all-targets` look at it as a test too, with what a test harness brings.
        #[cfg(not(test))]
        const _: () = {
            #[global_allocator]
            static HEAP: ::coracle::heap::Heap = ::coracle::heap::Heap;

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                ::coracle::panic::report(info)
            }

            // The arguments stay where the start code has found them.
            #[unsafe(export_name = "main")]
            extern "C" fn start() -> i32 {
                #run
            }
        };
    }
}
