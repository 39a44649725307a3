//! What `#[coracle::main]` becomes.

use crate::program;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result, ReturnType, Signature, Type};

/// The function as it was, and behind it what an image needs and only the program itself can have.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[coracle::main]` takes no arguments"));
    }
    let function: ItemFn = syn::parse2(item)
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
    program::check("main", signature)?;
    if !signature.inputs.is_empty() {
        let message = "`main` takes no arguments: the program's are in `coracle::env::args()`";
        return Err(Error::new_spanned(&signature.inputs, message));
    }
    Ok(())
}

fn support(signature: &Signature) -> TokenStream {
    let name = &signature.ident;
    program::support(&match &signature.output {
        ReturnType::Type(_, output) if matches!(**output, Type::Never(_)) => quote! { #name() },
        _ => quote! { ::coracle::process::run(#name) },
    })
}

#[cfg(test)]
mod tests {
    use super::expand;
    use quote::quote;

    fn error(item: proc_macro2::TokenStream) -> String {
        expand(quote! {}, item).map_or_else(|error| error.to_string(), |tokens| tokens.to_string())
    }

    #[test]
    fn a_main_that_takes_nothing_becomes_the_symbol_main() {
        let tokens = error(quote! { fn main() -> Result<(), Error> { Ok(()) } });
        assert!(tokens.contains("export_name = \"main\"") && tokens.contains("run (main)"), "{tokens}");
        assert!(!tokens.contains("compile_error"), "{tokens}");
    }

    #[test]
    fn a_main_that_never_returns_is_called_as_it_is() {
        let tokens = error(quote! { fn main() -> ! { loop {} } });
        assert!(!tokens.contains("run (main)") && tokens.contains("main ()"), "{tokens}");
    }

    #[test]
    fn each_wrong_signature_is_refused_by_its_reason_and_the_function_is_kept() {
        for (item, reason) in [
            (quote! { async fn main() {} }, "async"),
            (quote! { const fn main() {} }, "const"),
            (quote! { unsafe fn main() {} }, "unsafe"),
            (quote! { extern "C" fn main() {} }, "ABI"),
            (quote! { fn main<T>() {} }, "generic"),
            (quote! { fn main(argc: i32) {} }, "coracle::env::args"),
        ] {
            let tokens = error(item);
            assert!(tokens.contains("compile_error") && tokens.contains(reason), "{tokens}");
            assert!(tokens.contains("fn main"), "{tokens}");
        }
    }

    #[test]
    fn what_is_not_a_function_and_arguments_of_the_attribute_are_refused() {
        assert!(error(quote! { struct Main; }).contains("stands before a function"));
        let refused = expand(quote! { fast }, quote! { fn main() {} });
        assert!(refused.is_err_and(|error| error.to_string().contains("takes no arguments")));
    }
}
