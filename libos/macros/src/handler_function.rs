//! What `#[coracle::handler]` and `#[coracle::http]` become.

use crate::program;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Path, Result, ReturnType, Signature, Token, Type};

/// Which of the attributes it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Handler,
    Http,
}

impl Attribute {
    const fn name(self) -> &'static str {
        match self {
            Attribute::Handler => "coracle::handler",
            Attribute::Http => "coracle::http",
        }
    }
}

/// The attribute's arguments.
struct Arguments {
    /// What is called before the program is ready.
    init: Option<Path>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Arguments> {
        if input.is_empty() {
            return Ok(Arguments { init: None });
        }
        let (key, _): (Ident, Token![=]) = (input.parse()?, input.parse()?);
        if key != "init" {
            return Err(Error::new(key.span(), "not an argument of this attribute"));
        }
        let init = Some(input.parse()?);
        if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
        }
        if input.is_empty() { Ok(Arguments { init }) } else { Err(input.error("there is nothing to follow")) }
    }
}

/// The function as it was, and behind it what makes it a program.
pub(crate) fn expand(attribute: Attribute, arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let name = attribute.name();
    let arguments: Arguments = syn::parse2(arguments).map_err(|error| {
        Error::new(error.span(), format!("`#[{name}]` takes nothing, or `init = function`: {error}"))
    })?;
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("`#[{name}]` stands before a function")))?;
    // Where the signature is wrong, the function is kept: else its callers would be errors too.
    let rest = match run(attribute, &arguments, &function.sig) {
        Ok(run) => {
            let note = note(attribute);
            let support = program::support(&run);
            quote! { #note #support }
        }
        Err(error) => error.into_compile_error(),
    };
    Ok(quote! {
        #[cfg_attr(test, allow(dead_code))]
        #function
        #rest
    })
}

fn note(attribute: Attribute) -> TokenStream {
    let kind = match attribute {
        Attribute::Handler => quote! { Handler },
        Attribute::Http => quote! { Http },
    };
    quote! {
        #[cfg(not(test))]
        const _: () = {
            use ::coracle::hypercall::note::{Program, ValueNote};
            #[used]
            #[unsafe(link_section = ".note.coracle")]
            static PROGRAM: ValueNote = ValueNote::program(Program::#kind);
        };
    }
}

/// From the initialisation to the answer.
fn run(attribute: Attribute, arguments: &Arguments, signature: &Signature) -> Result<TokenStream> {
    let name = &signature.ident;
    program::check(&name.to_string(), signature)?;
    let inputs: Vec<&Type> = signature
        .inputs
        .iter()
        .map(|input| match input {
            FnArg::Typed(input) => Ok(plain(&input.ty)),
            FnArg::Receiver(_) => Err(Error::new_spanned(input, "a handler is not a method")),
        })
        .collect::<Result<_>>()?;
    let (state, input) = match (inputs.as_slice(), &arguments.init) {
        ([input], _) => (None, *input),
        ([state, input], Some(_)) => (Some(*state), *input),
        ([_, _], None) => {
            let message = "what a handler takes beside its input comes from `init = function`";
            return Err(Error::new_spanned(&signature.inputs, message));
        }
        ([], _) => return Err(Error::new(name.span(), "a handler takes its input")),
        (_, _) => {
            let message = "a handler takes its input, and before it what `init = function` gives";
            return Err(Error::new_spanned(&signature.inputs, message));
        }
    };
    if let Some(state) = state
        && !matches!(state, Type::Reference(_))
    {
        return Err(Error::new_spanned(state, "what `init` gives is taken by `&` or `&mut`"));
    }
    let init = arguments.init.as_ref().map(|init| match state {
        Some(_) => quote! { let mut state = #init(); },
        None => quote! { #init(); },
    });
    let state = state.map(|_| quote! { &mut state, });
    let (take, give) = ways(attribute, input, &signature.output)?;
    let call = quote_spanned! { input.span() => #name(#state input) };
    Ok(quote! {
        #init
        let input = #take;
        #give(#call)
    })
}

/// The functions that give the input and take the output.
fn ways(attribute: Attribute, input: &Type, output: &ReturnType) -> Result<(TokenStream, TokenStream)> {
    let ReturnType::Type(_, output) = output else {
        return Err(Error::new(Span::call_site(), "a handler returns its output"));
    };
    let output = plain(output);
    // What is wrong with a type is shown where the type stands.
    let (from, to) = (input.span(), output.span());
    if attribute == Attribute::Http {
        return Ok((
            quote_spanned! { from => ::coracle::http::request() },
            quote_spanned! { to => ::coracle::http::respond },
        ));
    }
    if let Type::Reference(reference) = input {
        if !is_bytes(&reference.elem) {
            let message =
                "a handler takes bytes, `&[u8]`, or a value that serde makes of JSON, not behind `&`";
            return Err(Error::new_spanned(input, message));
        }
        let respond = match output {
            Type::Reference(_) => quote_spanned! { to => ::coracle::handler::respond_borrowed },
            _ if is_result(output) => quote_spanned! { to => ::coracle::handler::respond_result },
            _ => quote_spanned! { to => ::coracle::handler::respond },
        };
        return Ok((quote_spanned! { from => ::coracle::handler::input() }, respond));
    }
    let respond = match output {
        _ if is_result(output) => quote_spanned! { to => ::coracle::handler::json::respond_result },
        _ => quote_spanned! { to => ::coracle::handler::json::respond },
    };
    Ok((quote_spanned! { from => ::coracle::handler::json::request() }, respond))
}

/// The type without what macros wrap around it.
fn plain(mut outer: &Type) -> &Type {
    loop {
        outer = match outer {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return outer,
        }
    }
}

fn is_bytes(of: &Type) -> bool {
    let Type::Slice(slice) = plain(of) else { return false };
    matches!(plain(&slice.elem), Type::Path(path) if path.path.is_ident("u8"))
}

/// Whether the type is called `Result`: a macro cannot look behind a name.
fn is_result(output: &Type) -> bool {
    let Type::Path(path) = output else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Result")
}

#[cfg(test)]
mod tests {
    use super::{Attribute, expand};
    use quote::quote;

    fn expanded(attribute: Attribute, arguments: &str, item: proc_macro2::TokenStream) -> String {
        let arguments = arguments.parse().expect("tokens");
        let result = expand(attribute, arguments, item);
        result.map_or_else(|error| error.to_string(), |tokens| tokens.to_string()).replace(' ', "")
    }

    fn handler(arguments: &str, item: proc_macro2::TokenStream) -> String {
        expanded(Attribute::Handler, arguments, item)
    }

    #[test]
    fn a_handler_of_bytes_gets_the_input_as_it_lies() {
        for (item, end) in [
            (quote! { fn f(input: &[u8]) -> Vec<u8> {} }, "handler::respond(f(input))"),
            (quote! { fn f(input: &mut [u8]) -> impl Into<Vec<u8>> {} }, "handler::respond(f(input))"),
            (quote! { fn f(input: &[u8]) -> &[u8] {} }, "handler::respond_borrowed(f(input))"),
            (quote! { fn f(input: &[u8]) -> io::Result<String> {} }, "handler::respond_result(f(input))"),
        ] {
            let tokens = handler("", item);
            assert!(tokens.contains("letinput=::coracle::handler::input();"), "{tokens}");
            assert!(tokens.contains(end), "{tokens}");
            assert!(
                tokens.contains("Program::Handler") && tokens.contains("export_name=\"main\""),
                "{tokens}"
            );
            assert!(!tokens.contains("compile_error"), "{tokens}");
        }
    }

    #[test]
    fn a_handler_of_values_goes_through_json() {
        for (item, end) in [
            (quote! { fn f(order: Order<'_>) -> Receipt {} }, "json::respond(f(input))"),
            (quote! { fn f(order: Order) -> Result<Receipt, E> {} }, "json::respond_result(f(input))"),
        ] {
            let tokens = handler("", item);
            assert!(tokens.contains("letinput=::coracle::handler::json::request();"), "{tokens}");
            assert!(tokens.contains(end) && !tokens.contains("compile_error"), "{tokens}");
        }
    }

    #[test]
    fn what_init_gives_is_made_before_the_input_is_asked_for() {
        let tokens = handler("init = setup,", quote! { fn f(state: &State, input: &[u8]) -> String {} });
        assert!(tokens.contains("letmutstate=setup();letinput="), "{tokens}");
        assert!(tokens.contains("f(&mutstate,input)"), "{tokens}");
        let tokens = handler("init = crate::setup", quote! { fn f(input: &[u8]) -> String {} });
        assert!(tokens.contains("crate::setup();letinput=") && tokens.contains("(f(input))"), "{tokens}");
    }

    #[test]
    fn a_handler_of_requests_is_an_image_of_its_kind() {
        let tokens =
            expanded(Attribute::Http, "", quote! { fn f(request: Request) -> Result<Response, Error> {} });
        assert!(tokens.contains("letinput=::coracle::http::request();"), "{tokens}");
        assert!(tokens.contains("http::respond(f(input))") && tokens.contains("Program::Http"), "{tokens}");
    }

    #[test]
    fn each_wrong_signature_is_refused_by_its_reason_and_the_function_is_kept() {
        for (arguments, item, reason) in [
            ("", quote! { async fn f(input: &[u8]) -> String {} }, "async"),
            ("", quote! { fn f<T>(input: &[u8]) -> T {} }, "generic"),
            ("", quote! { fn f() -> String {} }, "takesitsinput"),
            ("", quote! { fn f(&self) -> String {} }, "notamethod"),
            ("", quote! { fn f(input: &[u8]) {} }, "returnsitsoutput"),
            ("", quote! { fn f(input: &Order) -> String {} }, "notbehind"),
            ("", quote! { fn f(state: &State, input: &[u8]) -> String {} }, "init=function"),
            ("init = setup", quote! { fn f(state: State, input: &[u8]) -> String {} }, "by`&`or`&mut`"),
            ("init = setup", quote! { fn f(a: &A, b: &B, input: &[u8]) -> String {} }, "beforeit"),
        ] {
            let tokens = handler(arguments, item);
            assert!(tokens.contains("compile_error") && tokens.contains(reason), "{tokens}");
            assert!(tokens.contains("fnf"), "{tokens}");
        }
    }

    #[test]
    fn what_is_not_a_function_and_other_arguments_are_refused() {
        assert!(handler("", quote! { struct Handler; }).contains("standsbeforeafunction"));
        let item = quote! { fn f(input: &[u8]) -> String {} };
        for arguments in ["fast", "setup = init", "init", "init = setup, fast"] {
            let tokens = handler(arguments, item.clone());
            assert!(tokens.contains("takesnothing,or`init=function`"), "{tokens}");
        }
    }
}
