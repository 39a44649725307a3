//! A small template engine in the manner of Mustache. The engines on crates.io that have loops need `std`
//! or compile their templates into the program.
//!
//! | tag | becomes |
//! |---|---|
//! | `{{name}}` | the value, with HTML's special characters escaped |
//! | `{{#name}}…{{/name}}` | what is between, for each item of a list, or once for what is neither absent, `null`, `false` nor empty |
//! | `{{^name}}…{{/name}}` | what is between, where the above would give nothing |
//!
//! The name `.` is the item itself; any other is looked up in the innermost object first. A line with nothing but a section's tag is left out.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::Value;

/// A template, ready to be rendered.
pub(crate) struct Template<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Text(&'a str),
    Value(&'a str),
    Section { name: &'a str, inverted: bool, parts: Vec<Part<'a>> },
}

/// What is wrong with a template, and the name at which it is.
#[derive(Debug)]
#[expect(dead_code, reason = "they are shown by `Debug`")]
pub(crate) enum Malformed<'a> {
    /// A tag without its end.
    Tag(&'a str),
    /// A section without its end, or an end without its section.
    Section(&'a str),
}

impl<'a> Template<'a> {
    /// Takes a template apart.
    pub(crate) fn parse(source: &'a str) -> Result<Template<'a>, Malformed<'a>> {
        let mut rest = source;
        let parts = parse_parts(&mut rest, None)?;
        Ok(Template(parts))
    }

    /// The text with these values in it.
    pub(crate) fn render(&self, values: &Value) -> String {
        let mut text = String::new();
        render_parts(&self.0, &mut Vec::from([values]), &mut text);
        text
    }
}

/// The parts up to the end of the section, or of the source where there is none.
fn parse_parts<'a>(rest: &mut &'a str, section: Option<&'a str>) -> Result<Vec<Part<'a>>, Malformed<'a>> {
    let mut parts = Vec::new();
    while let Some((text, after)) = rest.split_once("{{") {
        let (tag, after) = after.split_once("}}").ok_or(Malformed::Tag(after))?;
        let (kind, name) = match tag.as_bytes() {
            [b'#' | b'^' | b'/', ..] => (&tag[..1], tag[1..].trim()),
            _ => ("", tag.trim()),
        };
        let alone = !kind.is_empty() && (text.is_empty() || text.ends_with('\n'));
        *rest = if alone { after.strip_prefix('\n').unwrap_or(after) } else { after };
        parts.push(Part::Text(text));
        match kind {
            "" => parts.push(Part::Value(name)),
            "/" if section == Some(name) => return Ok(parts),
            "/" => return Err(Malformed::Section(name)),
            _ => {
                let inner = parse_parts(rest, Some(name))?;
                parts.push(Part::Section { name, inverted: kind == "^", parts: inner });
            }
        }
    }
    match section {
        Some(name) => Err(Malformed::Section(name)),
        None => {
            parts.push(Part::Text(core::mem::take(rest)));
            Ok(parts)
        }
    }
}

fn render_parts(parts: &[Part<'_>], scopes: &mut Vec<&Value>, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Value(name) => {
                if let Some(value) = look_up(scopes, name) {
                    escape(&shown(value), text);
                }
            }
            Part::Section { name, inverted, parts } => {
                let items = look_up(scopes, name).map_or(&[][..], items);
                if *inverted && items.is_empty() {
                    render_parts(parts, scopes, text);
                }
                for item in items.iter().filter(|_| !inverted) {
                    scopes.push(item);
                    render_parts(parts, scopes, text);
                    scopes.pop();
                }
            }
        }
    }
}

/// For what a section is rendered.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null | Value::Bool(false) => &[],
        Value::String(text) if text.is_empty() => &[],
        one => core::slice::from_ref(one),
    }
}

fn look_up<'v>(scopes: &[&'v Value], name: &str) -> Option<&'v Value> {
    if name == "." {
        return scopes.last().copied();
    }
    scopes.iter().rev().find_map(|scope| scope.get(name))
}

fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            other => text.push(other),
        }
    }
}
