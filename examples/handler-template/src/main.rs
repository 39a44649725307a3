//! Renders a page of HTML from JSON. The template is parsed once, before the first input comes, and the
//! state in which the machine is then is the one in which each page is rendered.
//!
//! ```console
//! $ echo '{"title": "Boats", "items": [{"name": "Coracle", "price": 120}]}' | cargo run --release
//! <!doctype html>
//! <title>Boats</title>
//! <h1>Boats</h1>
//! <p><b>Coracle</b>: 120</p>
//! $ echo '{"title": "Oars", "items": []}' | coracle invoke target/release/handler-template --input -
//! <!doctype html>
//! <title>Oars</title>
//! <h1>Oars</h1>
//! <p>Nothing here today.</p>
//! ```
#![no_std]
#![no_main]

extern crate alloc;

mod template;

use alloc::string::String;
use template::Template;

fn setup() -> Template<'static> {
    Template::parse(include_str!("page.html")).expect("a sound template")
}

#[coracle::handler(init = setup)]
fn page(template: &Template<'_>, input: &[u8]) -> Result<String, serde_json::Error> {
    let values = serde_json::from_slice(input)?;
    Ok(template.render(&values))
}
