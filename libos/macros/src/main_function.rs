//! What `#[coracle::main]` becomes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, ItemFn, Result, ReturnType, Signature, Type};

/// The function as it was, and behind it what an image needs and only the program itself can have.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[coracle::main]` takes no arguments"));
    }
    let function: ItemFn = syn::parse2(item.clone())
        .map_err(|error| Error::new(error.span(), "`#[coracle::main]` stands before a function"))?;
    // Where the signature is wrong, the function is kept: else its callers would be errors too.
    let rest = match check(&function.sig) {
        Ok(()) => support(&function.sig),
        Err(error) => error.into_compile_error(),
    };
    Ok(quote! {
        #[cfg_attr(test, allow(dead_code))]
        #function
        #rest
    })
}

fn check(signature: &Signature) -> Result<()> {
    fn refuse(what: Option<&dyn ToTokens>, message: &str) -> Result<()> {
        what.map_or(Ok(()), |what| Err(Error::new_spanned(what, message)))
    }
    let part = |part: Option<&dyn ToTokens>, message| refuse(part, message);
    part(
        signature.asyncness.as_ref().map(|it| it as _),
        "`main` cannot be async: there is no executor here to run it",
    )?;
    part(signature.constness.as_ref().map(|it| it as _), "`main` cannot be const")?;
    part(signature.unsafety.as_ref().map(|it| it as _), "`main` cannot be unsafe")?;
    part(signature.abi.as_ref().map(|it| it as _), "`main` cannot have an ABI of its own")?;
    if !signature.inputs.is_empty() {
        let message = "`main` takes no arguments: the program's are in `coracle::env::args()`";
        return Err(Error::new_spanned(&signature.inputs, message));
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        return Err(Error::new_spanned(&signature.generics, "`main` cannot be generic"));
    }
    Ok(())
}

fn support(signature: &Signature) -> TokenStream {
    let name = &signature.ident;
    let run = match &signature.output {
        ReturnType::Type(_, output) if matches!(**output, Type::Never(_)) => quote! { #name() },
        _ => quote! { ::coracle::process::run(#name) },
    };
    quote! {
        // A test harness brings `std` and a `main` of its own.
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
